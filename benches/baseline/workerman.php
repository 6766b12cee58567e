<?php
// The uid server of Workerman's manual, written out anew for Workerman 5: what ringpost's figures are
// held against. No Workerman code is here; it is installed elsewhere.
//
//     php workerman.php --workerman DIR [--relay PORT] [--push PORT] [--backend PORT]
//
// As in the manual, one process holds everybody, and the back end's text port is opened in it when it
// starts. Beside the manual's relay there is a listener for browsers that only listen. It answers as
// ringpost does, with less: one connection a uid (the newest), text messages alone, no timeouts, and of
// the back end's lines those in JSON.

declare(strict_types=1);

use Workerman\Connection\TcpConnection;
use Workerman\Coroutine\Context;
use Workerman\Events\Ev;
use Workerman\Worker;

const USAGE = <<<'TEXT'
    usage: php workerman.php --workerman DIR [--relay PORT] [--push PORT] [--backend PORT]

      --workerman DIR  Workerman 5: a project of composer's (DIR/vendor/autoload.php), or a bare copy
                       (DIR/src, with workerman/coroutine as DIR/../coroutine or DIR/coroutine)
      --relay PORT     websockets that talk to each other [1234]
      --push PORT      websockets that listen to the back end [1235]
      --backend PORT   lines of JSON with a uid, each answered by "ok" or "fail" [5678]

    Listens on 127.0.0.1, stays in the foreground, and ends at SIGTERM or SIGINT.

    TEXT;

/** Ends with status 2, as ringpost does for what is wrong with a command line. */
function refuse(string $reason): never
{
    fwrite(STDERR, "workerman.php: $reason\n");
    exit(2);
}

/** @return array{workerman: string, relay: int, push: int, backend: int} */
function options(array $words): array
{
    $options = ['workerman' => '', 'relay' => 1234, 'push' => 1235, 'backend' => 5678];
    while (($word = array_shift($words)) !== null) {
        if ($word === '--help' || $word === '-h') {
            echo USAGE;
            exit(0);
        }
        [$name, $value] = [...explode('=', $word, 2), null];
        $name = str_starts_with($name, '--') ? substr($name, 2) : '';
        if (!isset($options[$name])) {
            refuse("unknown option \"$word\"\n\n" . USAGE);
        }
        $value ??= array_shift($words) ?? refuse("--$name needs a value");
        if ($name !== 'workerman') {
            $port = filter_var($value, FILTER_VALIDATE_INT, ['options' => ['min_range' => 1, 'max_range' => 65535]]);
            $value = $port ?: refuse("--$name \"$value\" is no port from 1 to 65535");
        }
        $options[$name] = $value;
    }
    if ($options['workerman'] === '') {
        refuse("--workerman DIR is missing: where is Workerman 5 installed?\n\n" . USAGE);
    }
    return $options;
}

/** Makes Workerman's classes known. */
function load(string $folder): void
{
    foreach (['pcntl', 'posix', 'sockets', 'json'] as $extension) {
        extension_loaded($extension) || refuse("this php lacks the extension $extension");
    }
    is_dir($folder) || refuse("--workerman $folder: there is no such folder");
    if (is_file("$folder/vendor/autoload.php")) {
        require "$folder/vendor/autoload.php";
    } elseif (is_file("$folder/src/Worker.php")) {
        load_bare($folder);
    }
    class_exists(Worker::class) || refuse(
        "--workerman $folder holds no Workerman 5: neither vendor/autoload.php that knows Workerman nor src/Worker.php"
    );
    $version = defined(Worker::class . '::VERSION') ? Worker::VERSION : 'of unknown version';
    str_starts_with($version, '5.') || refuse("--workerman $folder is Workerman $version, and 5 is needed");
    class_exists(Context::class) || refuse(
        "--workerman $folder lacks workerman/coroutine, which belongs to Workerman 5: put it in $folder/../coroutine"
    );
}

/** PSR-4 for copies that composer has not seen: namespaces and the folders they may be in. */
function load_bare(string $folder): void
{
    $roots = ['Workerman\\' => ["$folder/src"]];
    foreach (["$folder/../coroutine/src", "$folder/coroutine/src"] as $coroutine) {
        $roots['Workerman\\Coroutine\\'][] = $coroutine;
        $roots['Workerman\\'][] = $coroutine;
    }
    spl_autoload_register(static function (string $class) use ($roots): void {
        foreach ($roots as $prefix => $folders) {
            if (!str_starts_with($class, $prefix)) {
                continue;
            }
            $path = str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
            foreach ($folders as $folder) {
                if (is_file("$folder/$path")) {
                    require "$folder/$path";
                    return;
                }
            }
        }
    });
}

/** Workerman takes `event` by itself; `ev` it has to be told. */
function choose_loop(): void
{
    if (!extension_loaded('event') && extension_loaded('ev')) {
        Worker::$eventLoopClass = Ev::class;
    } elseif (!extension_loaded('event')) {
        fwrite(STDERR, "workerman.php: this php has neither the extension event nor ev, so Workerman waits by "
            . "select(), which ends at 1,024 connections\n");
    }
}

/** The soft limit of descriptors becomes the hard one, where the system lets it. */
function raise_descriptors(): void
{
    $limits = posix_getrlimit();
    $soft = $limits['soft openfiles'] ?? 'unlimited';
    $hard = $limits['hard openfiles'] ?? 'unlimited';
    if ($soft === $hard || $soft === 'unlimited') {
        return;
    }
    $hard = $hard === 'unlimited' ? 1 << 20 : $hard;
    if (!posix_setrlimit(POSIX_RLIMIT_NOFILE, $hard, $hard)) {
        fwrite(STDERR, "workerman.php: keeps to the $soft descriptors it was given: `ulimit -n $hard` first for more\n");
    }
}

/** Workerman's own files go where they harm nobody, and go away with it. */
function keep_tidy(): void
{
    $folder = sys_get_temp_dir() . '/workerman-' . getmypid();
    @mkdir($folder, 0700) || refuse("cannot make the folder $folder");
    Worker::$pidFile = "$folder/pid";
    Worker::$logFile = "$folder/log";
    Worker::$statusFile = "$folder/status";
    Worker::$stdoutFile = '/dev/null';
    Worker::$onMasterStop = static function () use ($folder): void {
        array_map(unlink(...), glob("$folder/*"));
        rmdir($folder);
    };
}

/** All ports before any: Workerman would try again for ever where one that it opens later is taken. */
function check_ports(int ...$ports): void
{
    $sockets = [];
    foreach ($ports as $port) {
        $socket = @stream_socket_server("tcp://127.0.0.1:$port", $code, $message);
        $sockets[] = $socket ?: refuse("cannot listen on 127.0.0.1:$port: $message");
    }
    array_map(fclose(...), $sockets);
}

/** Who is logged in at a listener, by uid. */
final class Uids
{
    /** @var array<string, TcpConnection> */
    private array $connections = [];

    /** Binds a connection to the uid it names; returns why not. The newest of a uid stays. */
    public function login(TcpConnection $connection, string $uid): ?string
    {
        $refusal = match (true) {
            $uid === '' => 'a uid needs at least one character',
            strlen($uid) > 128 => 'a uid has at most 128 bytes',
            $uid === 'all' => '"all" is reserved: it addresses everybody',
            preg_match('/[\p{Cc}]/u', $uid) !== 0 => 'a uid is UTF-8 without control characters',
            default => null,
        };
        if ($refusal === null) {
            $connection->uid = $uid;
            $this->connections[$uid] = $connection;
        }
        return $refusal;
    }

    /** A connection's end unmaps that connection alone. */
    public function leave(TcpConnection $connection): void
    {
        if (isset($connection->uid) && ($this->connections[$connection->uid] ?? null) === $connection) {
            unset($this->connections[$connection->uid]);
        }
    }

    public function send(string $uid, string $message): bool
    {
        return isset($this->connections[$uid]) && self::deliver($this->connections[$uid], $message);
    }

    public function broadcast(string $message): bool
    {
        $reached = false;
        foreach ($this->connections as $connection) {
            $reached = self::deliver($connection, $message) || $reached;
        }
        return $reached;
    }

    /** Whoever has no room for a message is closed, for a gap could not be seen. */
    private static function deliver(TcpConnection $connection, string $message): bool
    {
        if ($connection->send($message) === false) {
            $connection->destroy();
            return false;
        }
        return true;
    }
}

/** Answers a login that names no uid, and closes with 4006. */
function turn_away(TcpConnection $connection, string $reason): void
{
    $connection->send("error: $reason");
    $body = pack('n', 4006) . 'bad login';
    $connection->close("\x88" . chr(strlen($body)) . $body, true);
}

/** The relay: the first message is the uid, each later one "uid:message" or "all:message". */
function relay(Worker $listener, Uids $uids): void
{
    $listener->onMessage = static function (TcpConnection $connection, string $message) use ($uids): void {
        if (!isset($connection->uid)) {
            $refusal = str_contains($message, ':')
                ? 'a uid has no colon here, since nobody could address it'
                : $uids->login($connection, $message);
            $refusal === null
                ? $connection->send("login success, your uid is $message")
                : turn_away($connection, $refusal);
            return;
        }
        // At the first colon only: later ones belong to the body.
        [$to, $body] = [...explode(':', $message, 2), null];
        if ($body === null || $to === '') {
            $connection->send('error: expected "uid:message" or "all:message"');
        } elseif ($to === 'all') {
            $uids->broadcast($body);
        } elseif (!$uids->send($to, $body)) {
            $connection->send("error: uid \"$to\" is not online");
        }
    };
    $listener->onClose = $uids->leave(...);
}

/** Those who listen to the back end: the first message is the uid, later ones are heartbeats. */
function push(Worker $listener, Uids $uids): void
{
    $listener->onMessage = static function (TcpConnection $connection, string $message) use ($uids): void {
        $refusal = isset($connection->uid) ? null : $uids->login($connection, $message);
        if ($refusal !== null) {
            turn_away($connection, $refusal);
        }
    };
    $listener->onClose = $uids->leave(...);
}

/** The back end's lines: each goes unchanged to the uid it names. */
function backend(Worker $listener, Uids $relay, Uids $push): void
{
    $listener->onMessage = static function (TcpConnection $connection, string $line) use ($relay, $push): void {
        $uid = json_decode($line, true)['uid'] ?? null;
        if (!is_string($uid) && !is_int($uid)) {
            $connection->send('fail: expected a JSON object with a uid');
            return;
        }
        $all = $uid === 'all';
        $reached = $all ? $relay->broadcast($line) : $relay->send((string) $uid, $line);
        $reached = ($all ? $push->broadcast($line) : $push->send((string) $uid, $line)) || $reached;
        $connection->send($reached ? 'ok' : 'fail');
    };
}

$options = options(array_slice($argv, 1));
load($options['workerman']);
raise_descriptors();
choose_loop();
check_ports($options['relay'], $options['push'], $options['backend']);
keep_tidy();
// Most installations stop PHP at 128 MB, which some 20,000 connections reach.
ini_set('memory_limit', '4G');

$front = new Worker("websocket://127.0.0.1:{$options['relay']}");
$front->count = 1;
$front->name = 'relay';
$relay = new Uids();
relay($front, $relay);
$front->onWorkerStart = static function () use ($options, $relay): void {
    $push = new Uids();
    $browsers = new Worker("websocket://127.0.0.1:{$options['push']}");
    push($browsers, $push);
    $browsers->listen();
    $backs = new Worker("text://127.0.0.1:{$options['backend']}");
    backend($backs, $relay, $push);
    $backs->listen();
    echo "  relay         ws://127.0.0.1:{$options['relay']}\n";
    echo "  push          ws://127.0.0.1:{$options['push']}\n";
    echo "  push-backend  text://127.0.0.1:{$options['backend']}\n";
};
// Workerman reads the command line too, and knows other words.
$argv = [$argv[0]];
Worker::$command = 'start -q';
Worker::runAll();
