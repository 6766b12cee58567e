<?php
// Whether a batch of events is genuine and fresh: php verify.php SECRETFILE SIGNATURE < BODY
function is_genuine(string $secret, string $signature, string $body): bool {
    if (!preg_match('/^t=(\d+),v1=([0-9a-f]{64})$/', $signature, $parts)) return false;
    $mac = hash_hmac('sha256', "$parts[1].$body", $secret);
    return hash_equals($mac, $parts[2]) && abs(time() - (int) $parts[1]) < 300;
}

[, $file, $signature] = $argv;
exit(is_genuine(trim(file_get_contents($file)), $signature, file_get_contents('php://stdin')) ? 0 : 1);
