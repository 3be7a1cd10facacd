//! Code generation: the fact table ([`facts`]), how it is filled ([`extract`]), how types are resolved ([`model`]) and
//! written ([`emit`], [`emit_scheme`]).

mod emit;
mod emit_scheme;
mod extract;
mod facts;
mod model;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The repository's root directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

fn facts_dir() -> PathBuf {
    root().join("crates/api/types/facts")
}

/// `xtask facts --from DIR [--discovery DIR]`.
pub fn facts_task(args: &[String]) -> Result<()> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let dir = Path::new(args.next().context("a directory must follow")?);
        match arg.as_str() {
            "--from" => extract::packages(dir, &facts_dir())?,
            "--discovery" => extract::resources(dir, &facts_dir())?,
            _ => bail!("unknown option {arg}"),
        }
    }
    Ok(())
}

/// `xtask codegen [--check]`.
pub fn codegen_task(args: &[String]) -> Result<()> {
    let check = args.iter().any(|a| a == "--check");
    let facts = facts_dir();
    let mut packages = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&facts)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    files.sort();
    for file in files.iter().filter(|f| !f.ends_with("resources.txt")) {
        let text = std::fs::read_to_string(file)?;
        packages.push(facts::Package::parse(&text).with_context(|| file.display().to_string())?);
    }
    let resources = facts::Resource::parse_all(&std::fs::read_to_string(facts.join("resources.txt"))?)?;
    let model = model::Model::new(packages, resources)?;
    let mut outputs = emit::all(&model)?;
    outputs.push(emit_scheme::table(&model)?);
    let mut stale = Vec::new();
    for (path, text) in outputs {
        let path = root().join(path);
        let text = rustfmt(&text).with_context(|| path.display().to_string())?;
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
            continue;
        }
        std::fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        std::fs::write(&path, text)?;
    }
    if !stale.is_empty() {
        bail!("generated code is stale, run `cargo xtask codegen`: {}", stale.join(", "));
    }
    Ok(())
}

fn rustfmt(text: &str) -> Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout", "--config", "max_width=110,use_small_heuristics=Max"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("rustfmt is part of the Rust toolchain")?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let input = text.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("writing to rustfmt failed"))??;
    if !output.status.success() {
        bail!("rustfmt refused the generated code");
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_code_is_current() {
        codegen_task(&["--check".to_owned()]).expect("run `cargo xtask codegen` and commit what changes");
    }

    #[test]
    fn facts_survive_reading_and_writing() {
        for entry in std::fs::read_dir(facts_dir()).expect("the fact table") {
            let path = entry.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let again = if path.ends_with("resources.txt") {
                let mut out = String::new();
                facts::Resource::parse_all(&text).expect("resources").iter().for_each(|r| r.render(&mut out));
                out
            } else {
                facts::Package::parse(&text).expect("package").render()
            };
            assert_eq!(again, text, "{}", path.display());
        }
    }

    #[test]
    fn field_names_follow_the_convention() {
        let cases = [
            ("podCIDRs", "pod_cidrs"),
            ("externalIPs", "external_ips"),
            ("hostPID", "host_pid"),
            ("clusterIPs", "cluster_ips"),
            ("clusterIP", "cluster_ip"),
            ("type", "type_"),
            ("$ref", "ref_"),
            ("x-kubernetes-map-type", "x_kubernetes_map_type"),
            ("nonResourceURLs", "non_resource_urls"),
            ("openAPIV3Schema", "open_apiv3_schema"),
            ("wwids", "wwids"),
            ("caBundle", "ca_bundle"),
        ];
        for (json, rust) in cases {
            assert_eq!(model::rust_name(json), rust);
        }
    }
}
