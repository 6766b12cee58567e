<?php
// A back end as back ends are written: stream_socket_client, a JSON line, fgets the answer.
//
//     php tests/php/backend.php BINARY
//
// Starts the server itself, on free ports. Ends with a line "N passed, N failed".

declare(strict_types=1);

const PATIENCE = 15;

$binary = $argv[1] ?? getenv('BINARY') ?: 'target/debug/ringpost';
if (!is_executable($binary)) {
    fwrite(STDERR, "no binary at $binary; usage: php {$argv[0]} BINARY\n");
    exit(2);
}

/** A running server: its process, and the address of each app's listener. */
final class Server
{
    /** @var array<string, string> */
    public array $addresses = [];
    /** @var resource */
    private $process;
    /** @var resource */
    private $log;

    public function __construct(string $binary, int $cores)
    {
        $listeners = ['text://127.0.0.1:0=push-backend', 'text://127.0.0.1:0=push', 'text://127.0.0.1:0=relay'];
        $command = [$binary, 'serve', '--cores', (string) $cores];
        foreach ($listeners as $listener) {
            array_push($command, '--listen', $listener);
        }
        $environment = array_filter(
            getenv(),
            static fn (string $name): bool => !str_starts_with($name, 'RINGPOST_'),
            ARRAY_FILTER_USE_KEY
        );
        $this->log = tmpfile();
        $streams = [0 => ['file', '/dev/null', 'r'], 1 => ['pipe', 'w'], 2 => $this->log];
        $this->process = proc_open($command, $streams, $pipes, null, $environment);
        while (count($this->addresses) < count($listeners)) {
            $line = fgets($pipes[1]);
            if ($line === false) {
                throw new RuntimeException("the server ended at its start:\n" . $this->log());
            }
            if (preg_match('~^\s*(\S+)\s.*?\w+://([\d.]+:\d+)~', $line, $found)) {
                $this->addresses[$found[1]] = $found[2];
            }
        }
    }

    public function log(): string
    {
        rewind($this->log);
        return (string) stream_get_contents($this->log);
    }

    /** Stops it by SIGTERM; returns its status. */
    public function stop(): int
    {
        proc_terminate($this->process);
        do {
            usleep(10_000);
            $status = proc_get_status($this->process);
        } while ($status['running']);
        return $status['exitcode'];
    }
}

/** @return resource */
function connect(string $address)
{
    $socket = stream_socket_client("tcp://$address", $code, $message, PATIENCE);
    if ($socket === false) {
        throw new RuntimeException("no connection to $address: $message");
    }
    stream_set_timeout($socket, PATIENCE);
    return $socket;
}

/** Sends one line and reads the answer, as the push pattern's back ends do. */
function ask($socket, string $line): string
{
    fwrite($socket, $line . "\n");
    return read_line($socket);
}

function read_line($socket): string
{
    $answer = fgets($socket, 1 << 20);
    return $answer === false ? '(nothing came)' : rtrim($answer, "\n");
}

function push(string $uid, string $percent): string
{
    return json_encode(['uid' => $uid, 'percent' => $percent]);
}

function expect(string $what, mixed $expected, mixed $got): void
{
    if ($expected !== $got) {
        throw new RuntimeException("$what: expected " . json_encode($expected) . ', got ' . json_encode($got));
    }
}

/** Logs in a client of an app. @return resource */
function login(Server $server, string $app, string $uid, $backend)
{
    $client = connect($server->addresses[$app]);
    fwrite($client, "$uid\n");
    if ($app === 'relay') {
        expect('login', "login success, your uid is $uid", read_line($client));
    }
    for ($tries = 0; ask($backend, "online $uid") !== 'ok'; $tries++) {
        expect("$uid comes online", true, $tries < 500);
        usleep(10_000);
    }
    return $client;
}

$tests = [
    'a push to nobody fails' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        expect('answer', 'fail', ask($backend, push('nobody', '1%')));
    },
    'a push arrives unchanged' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        foreach (['push', 'relay'] as $app) {
            foreach (range(1, 8) as $n) {
                $uid = "php-$app-$n";
                $client = login($server, $app, $uid, $backend);
                $line = push($uid, '88%');
                expect('answer', 'ok', ask($backend, $line));
                expect('message', $line, read_line($client));
                // PHP escapes what is not ASCII, and slashes; the line must stay as it is.
                $line = json_encode(['uid' => $uid, 'text' => 'grüße 🌍 </b>']);
                expect('answer', 'ok', ask($backend, $line));
                expect('message', $line, read_line($client));
            }
        }
    },
    'a uid that PHP escapes is found' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        $client = login($server, 'push', 'grüße/🌍', $backend);
        $line = push('grüße/🌍', '5%');
        expect('PHP escapes', true, str_contains($line, '\\u'));
        expect('answer', 'ok', ask($backend, $line));
        expect('message', $line, read_line($client));
    },
    'a uid may be an integer' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        $client = login($server, 'push', '4711', $backend);
        $line = json_encode(['uid' => 4711, 'n' => 1]);
        expect('answer', 'ok', ask($backend, $line));
        expect('message', $line, read_line($client));
    },
    'a connection for each push, as short scripts do it' => static function (Server $server): void {
        $client = login($server, 'push', 'short', connect($server->addresses['push-backend']));
        foreach (range(1, 50) as $n) {
            $backend = connect($server->addresses['push-backend']);
            $line = push('short', "$n%");
            expect('answer', 'ok', ask($backend, $line));
            fclose($backend);
            expect('message', $line, read_line($client));
        }
    },
    'a persistent connection is used again' => static function (Server $server): void {
        $address = 'tcp://' . $server->addresses['push-backend'];
        foreach (range(1, 20) as $n) {
            $backend = stream_socket_client(
                $address, $code, $message, PATIENCE, STREAM_CLIENT_CONNECT | STREAM_CLIENT_PERSISTENT
            );
            expect('answer', 'fail', ask($backend, push('nobody', "$n%")));
        }
    },
    'lines may end as on Windows' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        expect('answer', 'fail', ask($backend, push('nobody', '1%') . "\r"));
    },
    'all reaches everybody' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        $clients = [];
        foreach (range(1, 12) as $n) {
            $clients[] = login($server, $n % 2 ? 'push' : 'relay', "all-$n", $backend);
        }
        $line = push('all', '100%');
        expect('answer', 'ok', ask($backend, $line));
        foreach ($clients as $client) {
            expect('message', $line, read_line($client));
        }
    },
    'pipelined lines are answered in order' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        $client = login($server, 'push', 'pipeline', $backend);
        $lines = '';
        foreach (range(0, 2_999) as $n) {
            $lines .= ($n % 3 === 0 ? push('pipeline', "$n%") : ($n % 3 === 1 ? push('nobody', "$n%") : 'nonsense')) . "\n";
        }
        fwrite($backend, $lines);
        foreach (range(0, 2_999) as $n) {
            $answer = read_line($backend);
            $expected = ['ok', 'fail', 'fail: '][$n % 3];
            $right = $n % 3 === 2 ? str_starts_with($answer, $expected) : $answer === $expected;
            expect("answer $n is $expected, not $answer", true, $right);
        }
        foreach (range(0, 2_999, 3) as $n) {
            expect('message', push('pipeline', "$n%"), read_line($client));
        }
    },
    'kick and online' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        $client = login($server, 'push', 'kicked', $backend);
        expect('online', 'ok', ask($backend, 'online kicked'));
        expect('kick', 'ok', ask($backend, 'kick kicked'));
        expect('the end', false, fgets($client));
        expect('the end of the stream', true, feof($client));
        expect('online', 'fail', ask($backend, 'online kicked'));
        expect('kick', 'fail', ask($backend, 'kick kicked'));
    },
    'stats is JSON' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        $stats = json_decode(ask($backend, 'stats'), true, 64, JSON_THROW_ON_ERROR);
        expect('an object', true, is_array($stats) && $stats !== []);
    },
    'what is no JSON fails with a reason' => static function (Server $server): void {
        $backend = connect($server->addresses['push-backend']);
        foreach (['hello', '{"percent":"88%"}', '{"uid":', 'kick all', ''] as $line) {
            $answer = ask($backend, $line);
            expect("$line is answered by a reason, not $answer", true, str_starts_with($answer, 'fail: '));
        }
    },
];

$passed = $failed = 0;
foreach ([1, 2, 4] as $cores) {
    $server = new Server($binary, $cores);
    foreach ($tests as $name => $test) {
        try {
            $test($server);
            $passed++;
        } catch (Throwable $error) {
            $failed++;
            echo "FAILED $name, $cores cores: {$error->getMessage()}\n";
        }
    }
    $status = $server->stop();
    if ($status === 0 && !str_contains($server->log(), 'panicked')) {
        $passed++;
    } else {
        $failed++;
        echo "FAILED the server ends well, $cores cores: status $status\n{$server->log()}\n";
    }
}
echo "$passed passed, $failed failed\n";
exit($failed === 0 ? 0 : 1);
