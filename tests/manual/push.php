<?php
// The push page's back end: one line of JSON to the inner text port, and its answer.
//
//     php push.php HOST:PORT UID PERCENT

$client = stream_socket_client("tcp://$argv[1]", $errno, $errmsg, 1);
if ($client === false) {
    fwrite(STDERR, "$errmsg\n");
    exit(1);
}
$data = array('uid' => $argv[2], 'percent' => $argv[3]);
// The text protocol's end of a message.
fwrite($client, json_encode($data) . "\n");
echo fread($client, 8192);
