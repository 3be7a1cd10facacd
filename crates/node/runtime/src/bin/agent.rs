//! The smallest program that can serve as `RuntimeConfig::self_exe`: shims, exec helpers and pause processes run in it.
//! The tests use it; the product's own binary dispatches to the same function.

fn main() {
    match runtime::dispatch() {
        Some(code) => std::process::exit(code),
        None => {
            eprintln!("this program is started by the container runtime and takes no commands");
            std::process::exit(2);
        }
    }
}
