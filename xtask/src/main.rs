//! Development tasks: `cargo xtask TASK`. Each task is one module and one line in [`TASKS`].

mod codegen;

use anyhow::{Result, bail};

/// Name, arguments as shown in the usage text, entry point.
type Task = (&'static str, &'static str, fn(&[String]) -> Result<()>);

const TASKS: &[Task] = &[
    ("facts", "--from DIR [--discovery DIR]   read API facts from Go sources", codegen::facts_task),
    ("codegen", "[--check]                    write the generated API types", codegen::codegen_task),
];

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
