//! The command line's definition.

use clap::{CommandFactory, Parser};

use crate::cli::{CliCommand, CommandLine};

// Clap wraps only with a dependency more, so the texts are kept short.
#[test]
fn help_fits_a_terminal() {
    let help = CommandLine::command().render_long_help().to_string();
    for line in help.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn the_definition_is_sound() {
    CommandLine::command().debug_assert();
}

#[test]
fn bare_flags_mean_serve() {
    let bare = CommandLine::parse_from(["ringpost", "--cores", "2", "--public"]);
    assert!(bare.command.is_none());
    let spelled = CommandLine::parse_from(["ringpost", "serve", "--cores", "2", "--public"]);
    let Some(CliCommand::Serve(args)) = spelled.command else {
        panic!("{spelled:?}")
    };
    assert_eq!(format!("{:?}", bare.serve), format!("{args:?}"));
}
