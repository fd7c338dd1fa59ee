//! The command line: words in, words and an exit code out. Data goes to stdout, prose about it to stderr.
//!
//! One command, one file. Arguments are parsed into types that cannot be wrong before anything is done.

pub mod exit;
pub mod human;
pub mod names;
pub mod out;
pub mod progress;

pub mod audit;
pub mod conflicts;
pub mod demo;
pub mod device;
pub mod events;
pub mod folder;
pub mod invite;
pub mod join;
pub mod packaging;
pub mod status;
pub mod transfer;
pub mod up;
pub mod wait;
pub mod why;

use crate::api::Client;
use clap::{CommandFactory, Parser, Subcommand};
use etcetera::BaseStrategy;
use exit::{Exit, Failure};
use out::Out;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps folders identical on all of your devices, encrypted, with nobody else's server involved
#[derive(Debug, Parser)]
#[command(name = "landropic", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// Where this device keeps its identity, index and settings [default: $LANDROPIC_STORAGE, else
    /// ~/.local/state/landropic]
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Log more: once for debug, twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 yes, 1 no, 2 usage, 3 no daemon is running, 4 refused.\n\
    Data goes to stdout, everything else to stderr. Logs: LANDROPIC_LOG=debug, or --verbose.";

/// What can be asked for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground, sharing or joining a folder
    Up(up::UpFlags),
    /// Whatever the daemon answers
    #[command(flatten)]
    Ask(Ask),
    /// Show two devices at work on this machine: sync, edit, conflict, kill and resume, with figures
    Demo(demo::DemoArgs),
    /// Print a completion script for a shell
    Completions(packaging::CompletionsArgs),
    /// Print the manual page, or write one for every command
    Man(packaging::ManArgs),
}

/// What the running daemon is asked.
#[derive(Debug, Subcommand)]
enum Ask {
    /// Offer a folder: prints the one-time code that another device joins with
    Invite(invite::InviteArgs),
    /// Join a folder that another device offers
    Join(join::JoinArgs),
    /// Manage folders
    #[command(subcommand)]
    Folder(folder::FolderCommand),
    /// Manage devices
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Show devices, folders, links and transfers
    Status(status::StatusArgs),
    /// Look at large files on their way, hold them up or let them go on
    #[command(subcommand)]
    Transfer(transfer::TransferCommand),
    /// Wait until every folder is the same on every connected device
    Wait(wait::WaitArgs),
    /// Say why an item is not in sync, and what to do
    Why(why::WhyArgs),
    /// Look at paths with several versions
    Conflicts(conflicts::ConflictsArgs),
    /// Show pairings, changes of membership and refusals, newest first
    Audit(audit::AuditArgs),
    /// Show what happens while it happens
    Events(events::EventsArgs),
}

/// Runs the program with these arguments, the first being its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return parse_failure(&error),
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => report(&failure),
    }
}

/// Help and version are answers, everything else is a usage error. clap knows which goes to which stream.
fn parse_failure(error: &clap::Error) -> ExitCode {
    // Help that is piped into something that ends early was still given.
    let _printed = error.print().is_ok();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Yes.into() }
}

fn report(failure: &Failure) -> ExitCode {
    if failure.is_broken_pipe() {
        return Exit::Yes.into();
    }
    let text = failure.to_string();
    if !text.is_empty() {
        // With stderr gone there is nobody left to tell.
        let _told = Out::std().note(&format!("landropic: {text}")).is_ok();
    }
    failure.exit().into()
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let mut out = Out::std();
    match cli.command {
        Command::Completions(args) => packaging::completions(args, &mut out).map(ExitCode::from),
        Command::Man(args) => packaging::man(args, &mut out).map(ExitCode::from),
        Command::Up(flags) => up::run(flags, &home(cli.home)?, cli.verbose),
        Command::Demo(args) => runtime()?.block_on(demo::run(args, &mut out)).map(ExitCode::from),
        Command::Ask(question) => {
            crate::telemetry::init(cli.verbose, None)?;
            let client = Client::new(&home(cli.home)?);
            runtime()?.block_on(ask(question, &client, &mut out)).map(ExitCode::from)
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build().map_err(anyhow::Error::from)?)
}

async fn ask(question: Ask, client: &Client, out: &mut Out<'_>) -> Result<Exit, Failure> {
    match question {
        Ask::Invite(args) => invite::run(args, client, out).await,
        Ask::Join(args) => join::run(args, client, out).await,
        Ask::Folder(command) => folder::run(command, client, out).await,
        Ask::Device(command) => device::run(command, client, out).await,
        Ask::Status(args) => status::run(args, client, out).await,
        Ask::Transfer(command) => transfer::run(command, client, out).await,
        Ask::Wait(args) => wait::run(args, client, out).await,
        Ask::Why(args) => why::run(args, client, out).await,
        Ask::Conflicts(args) => conflicts::run(args, client, out).await,
        Ask::Audit(args) => audit::run(args, client, out).await,
        Ask::Events(args) => events::run(args, client, out).await,
    }
}

/// The home: the flag, else `LANDROPIC_STORAGE`, else the XDG state directory. Always absolute.
fn home(flag: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let named = flag.or_else(|| std::env::var_os("LANDROPIC_STORAGE").filter(|v| !v.is_empty()).map(PathBuf::from));
    let home = match named {
        Some(home) => home,
        None => state_dir()?,
    };
    std::path::absolute(&home).map_err(|e| Failure::Usage(format!("--home {}: {e}", home.display())))
}

fn state_dir() -> Result<PathBuf, Failure> {
    let unknown = "this user has no home directory: say with --home where landropic shall keep its data";
    let base = etcetera::choose_base_strategy().map_err(|e| Failure::Usage(format!("{unknown} ({e})")))?;
    let state = base.state_dir().ok_or_else(|| Failure::Usage(unknown.to_owned()))?;
    Ok(state.join("landropic"))
}

/// The whole command tree, for help, completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// For commands that print data.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Json {
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests;
