//! Development tasks: `cargo xtask TASK`. Each task is one module and one line in [`TASKS`].

mod codegen;
mod layers;
mod oracle;
mod tidy;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

/// Name, arguments as shown in the usage text, entry point.
type Task = (&'static str, &'static str, fn(&[String]) -> Result<()>);

const TASKS: &[Task] = &[
    ("facts", "--from DIR [--discovery DIR]   read API facts from Go sources", codegen::facts_task),
    ("codegen", "[--check]                    write the generated API types", codegen::codegen_task),
    ("oracle", "[DIR] [OPTIONS]               replay recorded requests against our API server", |args| {
        exit_status(oracle::requests(&root(), args)?)
    }),
    ("kubectl-oracle", "--kubectl PATH [DIR] [OPTIONS]   replay recorded command lines", |args| {
        exit_status(oracle::command_lines(&root(), args)?)
    }),
    ("scheduler-oracle", "[DIR] [PART OF A NAME]   replay recorded decisions over our scheduler", |args| {
        exit_status(oracle::decisions(&root(), args)?)
    }),
    ("tidy", "                             check the house rules and the layers", |_| {
        let found = [layers::violations(&root())?, tidy::violations(&root())?].concat();
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    }),
];

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// A replay's exit status is ours.
fn exit_status(code: i32) -> Result<()> {
    if code != 0 {
        std::process::exit(code);
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map(String::as_str).unwrap_or_default();
    for (task, _, run) in TASKS {
        if *task == name {
            return run(&args[1..]);
        }
    }
    for (task, usage, _) in TASKS {
        eprintln!("cargo xtask {task} {usage}");
    }
    bail!("unknown task {name:?}")
}
