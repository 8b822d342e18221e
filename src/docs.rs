//! `millrace docs`: the reference pages, from the code. Continuous integration compares them with the committed ones.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Command;

use crate::Failure;
use crate::role::ROLES;

/// The command line of `millrace docs`.
#[derive(Debug, clap::Args)]
pub struct DocsArgs {
    /// The folder that they are written to.
    folder: PathBuf,
}

/// Writes them.
pub fn main(args: DocsArgs) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.folder)?;
    for role in ROLES {
        let schema = role.schema()?;
        write(&args.folder, &format!("{}.md", role.name), &schema.reference())?;
        write(&args.folder, &format!("{}.example.toml", role.name), &schema.example())?;
        let openapi = serde_json::to_string_pretty(&role.openapi())?;
        write(&args.folder, &format!("{}.openapi.json", role.name), &openapi)?;
    }
    write(&args.folder, "commands.md", &commands())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    std::fs::write(&path, text.trim_end().to_owned() + "\n").map_err(|e| Failure(format!("{}: {e}", path.display()), 1))
}

/// The help of every command. Of a role's flags only the way to their list is said: they are its configuration.
fn commands() -> String {
    let mut text = String::from("# Commands\n\nThis page is made from the code.\n");
    for command in crate::command().get_subcommands().filter(|c| !c.is_hide_set()) {
        help(command, "millrace", "##", &mut text);
    }
    text
}

/// A command's help, and that of the commands below it, where flags that it shares with them are not said again.
fn help(command: &Command, above: &str, heading: &str, text: &mut String) {
    let name = format!("{above} {}", command.get_name());
    let mut shown = command.clone().bin_name(&name);
    let role = ROLES.iter().any(|role| role.name == command.get_name());
    let help = if role { shown.render_help() } else { shown.render_long_help() };
    let _ = write!(text, "\n{heading} {name}\n\n```\n{}\n```\n", help.to_string().trim_end());
    for below in command.get_subcommands() {
        help_below(below, &name, &format!("{heading}#"), text);
    }
}

fn help_below(command: &Command, above: &str, heading: &str, text: &mut String) {
    if command.has_subcommands() {
        let name = format!("{above} {}", command.get_name());
        command.get_subcommands().for_each(|below| help_below(below, &name, heading, text));
    } else {
        help(&command.clone().disable_help_flag(true), above, heading, text);
    }
}
