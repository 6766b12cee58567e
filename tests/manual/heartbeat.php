<?php
// The heartbeat client: a line now and then, by which the server knows that it is there.
//
//     php heartbeat.php HOST:PORT SECONDS BEATS
//
// Prints `beat` after each, and `closed` when the server has closed the connection.

[, $address, $seconds, $beats] = $argv;
$client = stream_socket_client("tcp://$address", $errno, $errmsg, 5);
if ($client === false) {
    fwrite(STDERR, "$errmsg\n");
    exit(1);
}
for ($n = 0; $n < (int) $beats; $n++) {
    if ($n > 0) {
        usleep((int) (1e6 * (float) $seconds));
    }
    if (fwrite($client, "ping\n") !== 5) {
        exit(1);
    }
    echo "beat\n";
}
stream_set_timeout($client, 60);
// Nothing is answered; what is to be read is the end.
$line = fgets($client);
if ($line !== false || !feof($client)) {
    fwrite(STDERR, 'got ' . var_export($line, true) . "\n");
    exit(1);
}
echo "closed\n";
