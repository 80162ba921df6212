//! `kafscale man`: man pages, generated from the command line itself.

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;

use super::error::CliError;
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  kafscale man | man -l -                 read the page of the command
  kafscale man --output /usr/share/man/man1   write a page for it and for each command below it";

/// Print the man page, or write all pages
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ManArgs {
    /// Directory to write kafscale.1, kafscale-broker.1, ... to; without it the first is printed
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<(), CliError> {
    let command = super::command();
    let Some(directory) = &args.output else {
        let mut page = Vec::new();
        let rendered = Man::new(command).render(&mut page);
        rendered.map_err(CliError::write("the man page"))?;
        let mut out = Output::stdout();
        out.put(|out| out.write_all(&page))?;
        return out.flush();
    };
    let name = directory.display().to_string();
    std::fs::create_dir_all(directory).map_err(CliError::write(&name))?;
    clap_mangen::generate_to(command, directory).map_err(CliError::write(&name))
}
