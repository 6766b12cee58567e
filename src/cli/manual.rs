//! `ringpost completions` and `ringpost man`: the command line's definition as shells and `man` read it. Packages are
//! made with them, so that what is installed is of the same version as the program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use super::output::{Status, complain, print};

/// For which shell.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell; for bash: source <(ringpost completions bash)
    shell: Shell,
}

/// Where to.
#[derive(clap::Args, Debug)]
pub struct ManArgs {
    /// The directory, which must be there, such as /usr/local/share/man/man1
    directory: PathBuf,
}

/// What the definition does not hold, for the first page: a heading, and what each word means.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "SIGNALS",
        &[
            (
                "SIGHUP",
                "The configuration file, and files of keys and tokens, are read anew; connections stay.",
            ),
            (
                "SIGUSR2",
                "The program that stands by now where this one was started from takes over all connections, and this \
                 process leaves. If that fails, it goes on.",
            ),
            (
                "SIGTERM, SIGINT",
                "Drain: clients are closed little by little (drain_rate, drain_timeout), then the program leaves. \
                 A second one ends it at once.",
            ),
        ],
    ),
    (
        "FILES",
        &[(
            "/etc/ringpost/ringpost.toml",
            "The configuration of the service. Without --config no file is read.",
        )],
    ),
];

/// Prints a shell's script.
pub fn completions(args: &CompletionsArgs, command: Command) -> Status {
    let mut script = Vec::new();
    let mut command = with_choices(command);
    clap_complete::generate(args.shell, &mut command, "ringpost", &mut script);
    print(&String::from_utf8_lossy(&script));
    Status::Done
}

/// Writes `ringpost.1`, and `ringpost-COMMAND.1` for each command.
pub fn pages(args: &ManArgs, command: Command) -> Status {
    match write_pages(&args.directory, command) {
        Ok(()) => Status::Done,
        Err(problem) => {
            complain(&problem);
            Status::Failed
        }
    }
}

/// The command where values that are shown as "one|other" are known as such; `serve` itself says of a wrong one more than
/// clap would.
fn with_choices(command: Command) -> Command {
    let with_choices_of_arg = |arg: Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let choices: Vec<String> = match names {
            [names] if names.contains('|') => names.split('|').map(str::to_owned).collect(),
            _ => return arg,
        };
        arg.value_parser(PossibleValuesParser::new(choices))
    };
    command
        .mut_args(with_choices_of_arg)
        .mut_subcommands(with_choices)
}

fn write_pages(directory: &Path, command: Command) -> Result<(), String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let commands = command.get_subcommands().cloned();
    let pages = commands.map(|subcommand| (subcommand, "ringpost"));
    for (command, above) in pages.chain([(command.clone(), "")]) {
        let page = page(command, above);
        let (name, text) = page.map_err(|error| format!("a manual page: {error}"))?;
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The name of a command's file, and what stands in it. `above` is the page that it is a part of.
fn page(command: Command, above: &str) -> io::Result<(String, Vec<u8>)> {
    let after = command.get_after_long_help().map(ToString::to_string);
    let subcommands: Vec<String> = command.get_subcommands().map(name_of).collect();
    // What -h leaves out stands in the manual.
    let mut command = command.mut_args(|arg| arg.hide_short_help(false));
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let version = env!("CARGO_PKG_VERSION");
    // The version stands in the date's place, which would be that of the build.
    let man = Man::new(command.override_usage(usage))
        .date(format!("ringpost {version}"))
        .source("");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if !subcommands.is_empty() {
        man.render_subcommands_section(&mut text)?;
    }
    let (mut rest, mut heading) = (Roff::new(), String::new());
    for paragraph in after.iter().flat_map(|text| text.split("\n\n")) {
        add_paragraph(&mut rest, &mut heading, paragraph);
    }
    let sections = if above.is_empty() { SECTIONS } else { &[] };
    for (heading, entries) in sections {
        rest.control("SH", [*heading]);
        for (word, meaning) in *entries {
            rest.control("TP", []);
            rest.text([bold(*word)]).text([roman(*meaning)]);
        }
    }
    rest.control("SH", ["SEE ALSO"]);
    let others = match above {
        "" => subcommands,
        above => vec![above.to_owned()],
    };
    let others: Vec<String> = others.iter().map(|name| format!("{name}(1)")).collect();
    rest.text([roman(others.join(", "))]);
    rest.to_writer(&mut text)?;
    Ok((man.get_filename(), text))
}

fn name_of(command: &Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

/// A paragraph of what stands below the help: lines to be kept as they are below "Examples:", text below "Exit status:"
/// or without a heading. `last` is the heading before it, and then its own.
fn add_paragraph(roff: &mut Roff, last: &mut String, paragraph: &str) {
    let (heading, text) = match paragraph.split_once(':') {
        Some((heading @ ("Examples" | "Exit status"), text)) => (heading.to_uppercase(), text),
        _ => ("NOTES".to_owned(), paragraph),
    };
    match heading == *last {
        true => roff.control("PP", []),
        false => roff.control("SH", [heading.as_str()]),
    };
    *last = heading;
    match text.strip_prefix('\n') {
        Some(lines) => {
            roff.control("nf", []);
            for line in lines.lines() {
                roff.text([roman(line.trim_start())]);
            }
            roff.control("fi", []);
        }
        None => {
            roff.text([roman(text.replace('\n', " ").trim())]);
        }
    }
}
