//! `cargo xtask oracle`, `kubectl-oracle`: replay recorded requests and command lines against a control plane of our
//! own, started for this run in a temporary directory on free ports, without a node.
//!
//! The recordings and their replay scripts are given by a directory; the scripts' exit status and last line are ours.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The group whose members may do everything.
const ADMIN_GROUP: &str = "system:masters";

/// Replays HTTP recordings: `[DIR] [options of the replay script]`.
pub fn requests(root: &Path, args: &[String]) -> Result<i32> {
    let (dir, rest) = directory(root, args, "oracle")?;
    let script = script(root, &dir, "oracle", "oracle")?;
    let plane = ControlPlane::start(root, &[])?;
    let status = Command::new("python3")
        .arg(script)
        .arg("replay")
        .args(["--server", &plane.server, "--token", &plane.token])
        .arg("--cacert")
        .arg(plane.dir.join("pki/ca.crt"))
        .arg("--cases")
        .arg(dir.join("cases"))
        .arg("--expected")
        .arg(dir.join("expected"))
        .args(rest)
        .status()
        .context("cannot run python3")?;
    Ok(status.code().unwrap_or(1))
}

/// Replays kubectl command lines: `--kubectl PATH [DIR] [options of the replay script]`.
pub fn command_lines(root: &Path, args: &[String]) -> Result<i32> {
    let mut args = args.to_vec();
    let at =
        args.iter().position(|arg| arg == "--kubectl").context("say which kubectl to run: --kubectl PATH")?;
    ensure!(at + 1 < args.len(), "--kubectl needs a path");
    let kubectl: Vec<String> = args.drain(at..at + 2).collect();
    let (dir, rest) = directory(root, &args, "kubectl-oracle")?;
    let script = script(root, &dir, "kubectl-oracle", "replay.py")?;
    let options = [
        "--no-scheduler",
        "--controllers",
        "*,-node-lifecycle-controller,-node-ipam-controller,-pod-garbage-collector-controller",
    ];
    let plane = ControlPlane::start(root, &options)?;
    let status = Command::new("python3")
        .arg(script)
        .args(["--kubectl", &kubectl[1], "--kubeconfig"])
        .arg(plane.kubeconfig()?)
        .arg("--seed")
        .args(rest)
        .status()
        .context("cannot run python3")?;
    Ok(status.code().unwrap_or(1))
}

/// Replays scheduling decisions over the scheduler's core, without any control plane: `[DIR] [PART OF A NAME]`.
pub fn decisions(root: &Path, args: &[String]) -> Result<i32> {
    let default = root.join("../shared/scheduler-oracle");
    let dir = args.first().map_or(default, PathBuf::from);
    ensure!(dir.is_dir(), "{} holds no recordings", dir.display());
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["run", "--quiet", "-p", "ferrokube-scheduler", "--example", "replay", "--"])
        .arg(dir.canonicalize()?)
        .args(args.iter().skip(1))
        .status()
        .context("cannot run cargo")?;
    Ok(status.code().unwrap_or(1))
}

/// The first argument that is no option names the recordings; without one, those beside the checkout are taken.
fn directory(root: &Path, args: &[String], name: &str) -> Result<(PathBuf, Vec<String>)> {
    let (dir, rest) = match args.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (PathBuf::from(first), rest.to_vec()),
        _ => (root.join("../shared").join(name), args.to_vec()),
    };
    ensure!(dir.join("cases").is_dir(), "{} holds no recordings (a folder `cases`)", dir.display());
    Ok((dir.canonicalize()?, rest))
}

/// The replay script lies with the recordings, or with those beside the checkout.
fn script(root: &Path, dir: &Path, name: &str, file: &str) -> Result<PathBuf> {
    let candidates = [dir.join(file), root.join("../shared").join(name).join(file)];
    candidates.into_iter().find(|path| path.is_file()).with_context(|| format!("no replay script `{file}`"))
}

/// A control plane without a node that lives as long as this value.
struct ControlPlane {
    child: Child,
    dir: PathBuf,
    server: String,
    token: String,
}

impl ControlPlane {
    fn start(root: &Path, options: &[&str]) -> Result<Self> {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--package", "ferrokube", "--message-format", "json"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(built.status.success(), "the build failed");
        let binary =
            executable(&String::from_utf8_lossy(&built.stdout)).context("the build made no executable")?;
        let dir = std::env::temp_dir().join(format!("ferrokube-oracle-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let port = free_port()?;
        let token = format!("oracle-{}-{port}", std::process::id());
        let tokens = dir.join("tokens.csv");
        fs::write(&tokens, format!("{token},admin,admin,\"{ADMIN_GROUP}\"\n"))?;
        let mut child = Command::new(binary)
            .args([
                "up",
                "--foreground",
                "--no-node",
                "--no-kubeconfig",
                "--bind-address",
                "127.0.0.1",
                "--port",
            ])
            .arg(port.to_string())
            .arg("--data-dir")
            .arg(&dir)
            .arg("--token-auth-file")
            .arg(&tokens)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let plane = ControlPlane { server: format!("https://127.0.0.1:{port}"), token, dir, child };
        plane.wait_until_ready(output.context("no output")?)?;
        Ok(plane)
    }

    /// The foreground server says so once its API answers; everything before is progress.
    fn wait_until_ready(&self, output: ChildStdout) -> Result<()> {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next() {
            if line?.contains("API server is ready") {
                // The pipe must be read to its end, or the server would block on a full one.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(());
            }
        }
        bail!("the control plane ended before it was ready; see {}", self.dir.display())
    }

    /// A kubeconfig whose user authenticates by the static token.
    fn kubeconfig(&self) -> Result<PathBuf> {
        let path = self.dir.join("token.kubeconfig");
        let ca = self.dir.join("pki/ca.crt");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster:\n    server: {}\n    \
             certificate-authority: {}\ncontexts:\n- name: c\n  context: {{cluster: c, user: admin}}\nusers:\n- name: admin\n  \
             user: {{token: {}}}\n",
            self.server,
            ca.display(),
            self.token
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn executable(messages: &str) -> Option<String> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "ferrokube")
            .then(|| message["executable"].as_str().map(str::to_owned))
            .flatten()
    })
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
