//! `kafscale completions`: completion scripts for shells, generated from the command line itself.

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  kafscale completions bash > /etc/bash_completion.d/kafscale
  kafscale completions zsh > ~/.zfunc/_kafscale
  kafscale completions fish > ~/.config/fish/completions/kafscale.fish";

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "kafscale", &mut script);
    let mut out = Output::stdout();
    out.put(|out| out.write_all(&script))?;
    out.flush()
}
