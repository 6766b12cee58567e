<?php
// What can be said of the Workerman baseline without Workerman: that PHP reads it, and that it tells
// plainly what it lacks.
//
//     php tests/php/baseline.php
//
// Ends with a line "N passed, N failed".

declare(strict_types=1);

const SCRIPT = __DIR__ . '/../../benches/baseline/workerman.php';

/** Its status, and all that it says. @return array{int, string} */
function run(string ...$arguments): array
{
    $said = [];
    exec(implode(' ', array_map(escapeshellarg(...), [PHP_BINARY, ...$arguments])) . ' 2>&1', $said, $status);
    return [$status, implode("\n", $said)];
}

/** A copy that is no Workerman 5. */
$old = sys_get_temp_dir() . '/baseline-' . getmypid();
mkdir("$old/src", 0700, true);
file_put_contents("$old/src/Worker.php", '<?php namespace Workerman; class Worker { const VERSION = "4.1.0"; }');

$tests = [
    'PHP reads it' => [['-l', SCRIPT], 0, 'No syntax errors'],
    'it helps' => [[SCRIPT, '--help'], 0, 'usage: php workerman.php --workerman DIR'],
    'it wants Workerman' => [[SCRIPT], 2, '--workerman DIR is missing'],
    'it wants a folder' => [[SCRIPT, '--workerman', "$old/none"], 2, "$old/none: there is no such folder"],
    'it wants Workerman in it' => [[SCRIPT, "--workerman=$old/src"], 2, 'holds no Workerman 5'],
    'it wants Workerman 5' => [[SCRIPT, '--workerman', $old], 2, 'is Workerman 4.1.0, and 5 is needed'],
    'it wants ports' => [[SCRIPT, '--relay', '70000'], 2, '--relay "70000" is no port'],
    'it knows its options' => [[SCRIPT, '--relais', '1'], 2, 'unknown option "--relais"'],
    'a value is not forgotten' => [[SCRIPT, '--push'], 2, '--push needs a value'],
];

$failed = 0;
foreach ($tests as $name => [$arguments, $status, $words]) {
    [$got, $said] = run(...$arguments);
    if ($got !== $status || !str_contains($said, $words)) {
        $failed++;
        echo "FAILED $name: status $got\n$said\n";
    }
}
unlink("$old/src/Worker.php");
rmdir("$old/src");
rmdir($old);
echo count($tests) - $failed . " passed, $failed failed\n";
exit($failed === 0 ? 0 : 1);
