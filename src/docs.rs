//! `millrace docs`: the reference pages, from the code. Continuous integration compares them with the committed ones.

use std::fmt::Write;
use std::path::{Path, PathBuf};

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
    for command in crate::command().get_subcommands_mut().filter(|c| !c.is_hide_set()) {
        let name = command.get_name().to_owned();
        let role = ROLES.iter().any(|r| r.name == name);
        let help = if role { command.render_help() } else { command.render_long_help() };
        let _ = write!(text, "\n## millrace {name}\n\n```\n{}\n```\n", help.to_string().trim_end());
    }
    text
}
