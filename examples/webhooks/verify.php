<?php
// Whether a batch of events is genuine and fresh: php verify.php SECRETFILE SIGNATURE < BODY
function is_genuine(string $secret, string $signature, string $body): bool {
    parse_str(strtr($signature, ',', '&'), $parts);
    $mac = hash_hmac('sha256', "{$parts['t']}.$body", $secret);
    return hash_equals($mac, $parts['v1']) && abs(time() - (int) $parts['t']) < 300;
}

[, $file, $signature] = $argv;
exit(is_genuine(trim(file_get_contents($file)), $signature, file_get_contents('php://stdin')) ? 0 : 1);
