//! Replays recorded decisions: `replay DIR [PART OF A NAME]`. What `cargo xtask scheduler-oracle` runs.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(folder) = args.next() else {
        eprintln!("usage: replay DIR [PART OF A NAME]");
        return ExitCode::FAILURE;
    };
    let folder = Path::new(&folder);
    let inner = folder.join("scenarios");
    let folder = if inner.is_dir() { inner } else { folder.to_owned() };
    match scheduler::replay::replay(&folder, &args.next().unwrap_or_default()) {
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Ok(report) => {
            for difference in &report.differences {
                println!("{difference}");
            }
            println!("{report}");
            if report.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
