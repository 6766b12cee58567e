<?php
// Makes a token that proves a uid for an hour (auth = "hmac"): php token.php UID KEYFILE
[, $uid, $file] = $argv;
$key = trim(file_get_contents($file));
$base64url = fn ($bytes) => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
$claim = $base64url($uid) . '.' . (time() + 3600);
echo $claim . '.' . $base64url(hash_hmac('sha256', $claim, $key, true)), "\n";
