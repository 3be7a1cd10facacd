//! A cluster of one test: its own data directory and ports, removed at the end whatever happens.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ferrokube");

/// Where one test's cluster lives.
pub struct Machine {
    dir: tempfile::TempDir,
    name: String,
    /// Port of the API server.
    pub port: u16,
    kubelet_port: u16,
    /// A node port that nobody uses now.
    pub node_port: u16,
}

/// A node of its own beside a control plane, in a data directory of its own.
pub struct Beside<'m> {
    machine: &'m Machine,
    data: PathBuf,
    port: u16,
}

/// A running server.
pub struct Server {
    child: Child,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn free_node_port() -> u16 {
    let start = 30_000 + (std::process::id() % 2_000) as u16;
    (start..32_767).find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).unwrap()
}

impl Machine {
    pub fn new(name: &str) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let (port, kubelet_port) = (free_port(), free_port());
        Machine { dir, name: format!("node-{name}"), port, kubelet_port, node_port: free_node_port() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--data-dir").arg(self.dir.path().join("data")).current_dir(self.dir.path());
        command.env("HOME", self.dir.path()).env_remove("KUBECONFIG");
        command
    }

    /// Starts the server in the foreground and waits until it says that the cluster is up.
    pub fn start(&self, options: &[&str]) -> Server {
        let mut child = self
            .command()
            .args(["up", "--foreground", "--port", &self.port.to_string()])
            .args(["--kubelet-port", &self.kubelet_port.to_string(), "--node-name", &self.name])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let up = lines.by_ref().any(|line| line.unwrap().starts_with("The cluster is up"));
        assert!(
            up,
            "the cluster did not come up:\n{}",
            fs::read_to_string(self.dir.path().join("log")).unwrap()
        );
        std::thread::spawn(move || lines.for_each(drop));
        Server { child }
    }

    /// Runs a command of the program and gives what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{error}\nserver: {}", self.log());
        text
    }

    /// Runs a command that must fail and gives its message.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?} did not fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The end of the server's log, for messages of failed tests.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// One request with the administrator's token, as curl sends it: the status and the body. `arguments` are curl's.
    pub fn request(&self, path: &str, arguments: &[&str]) -> (u16, String) {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"])
            .arg("--cacert")
            .arg(self.dir.path().join("data/pki/ca.crt"))
            .args(["--header", "Authorization: Bearer of-this-test"])
            .args(arguments)
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| {
            panic!("curl said {}\nserver: {}", String::from_utf8_lossy(&output.stderr), self.log())
        });
        (status.parse().unwrap(), body.to_owned())
    }

    /// A kubeconfig with the administrator's token of [`Machine::token_file`].
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n    server: \
             https://127.0.0.1:{}\n    certificate-authority: {}\ncontexts:\n- name: test\n  context: {{cluster: \
             test, user: admin}}\nusers:\n- name: admin\n  user: {{token: of-this-test}}\n",
            self.port,
            self.dir.path().join("data/pki/ca.crt").display()
        )
    }

    /// Another program, with the file `kubeconfig` as its kubeconfig and a home of its own.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        command.env("KUBECONFIG", self.dir.path().join("kubeconfig"));
        command
    }

    /// Puts the data directory on a disk of 24 MiB of its own, which goes with what this returns.
    pub fn small_disk(&self) -> SmallDisk {
        let path = self.dir.path().join("data");
        fs::create_dir(&path).unwrap();
        nix::mount::mount(
            Some("tmpfs"),
            &path,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=24m,mode=0700"),
        )
        .unwrap();
        SmallDisk(path)
    }

    /// Writes the file that makes [`Machine::request`] an administrator: an option for [`Machine::start`].
    pub fn token_file(&self) -> String {
        self.write("tokens.csv", "of-this-test,admin,1,system:masters\n");
        format!("--token-auth-file={}", self.dir.path().join("tokens.csv").display())
    }

    /// Writes a file into the directory in which commands run.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// Ids of processes of that name that run in containers of this cluster.
    pub fn processes(&self, name: &str) -> Vec<u32> {
        let mut found: Vec<u32> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let mounts = fs::read_to_string(entry.path().join("mountinfo")).ok()?;
                let ours = mounts.contains(self.dir.path().to_str()?);
                (ours && command.split('\0').next()?.ends_with(name)).then_some(pid)
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// Mounts and cgroups of this cluster that are still there.
    pub fn leftovers(&self) -> Vec<String> {
        left_below(&self.dir.path().join("data"))
    }
}

impl Machine {
    /// A file of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node beside this control plane.
    pub fn beside(&self, name: &str) -> Beside<'_> {
        Beside { machine: self, data: self.path(name), port: free_port() }
    }

    /// The first event of a watch.
    pub fn first_event(&self, path: &str) -> String {
        let mut curl = Command::new("curl")
            .args(["--silent", "--no-buffer", "--max-time", "20", "--cacert"])
            .arg(self.path("data/pki/ca.crt"))
            .args(["--header", "Authorization: Bearer of-this-test"])
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(curl.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let _ = curl.kill();
        let _ = curl.wait();
        assert!(!line.is_empty(), "nothing came\nserver: {}", self.log());
        line
    }
}

impl Beside<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--data-dir").arg(&self.data).current_dir(self.machine.dir.path());
        command.env("HOME", self.machine.dir.path()).env_remove("KUBECONFIG");
        command
    }

    /// Starts the node and waits until it is Ready.
    pub fn start_kubelet(&self, options: &[&str]) -> Server {
        let log = self.machine.path("kubelet.log");
        let mut child = self
            .command()
            .args(["kubelet", "--port", &self.port.to_string()])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().any(|line| line.unwrap().contains("is Ready"));
        assert!(ready, "the node did not become Ready:\n{}", fs::read_to_string(&log).unwrap());
        std::thread::spawn(move || lines.for_each(drop));
        Server { child }
    }

    /// Runs a command of the program and gives what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that must fail and gives its message.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?} did not fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Mounts and files of this node that are still there.
    pub fn leftovers(&self) -> Vec<String> {
        left_below(&self.data)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        // A test that failed half-way must not leave containers to the next one.
        let _ = self.command().arg("reset").output();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A test that failed half-way must not leave containers to the next one.
        let _ = self.command().arg("reset").output();
    }
}

/// A mounted disk, unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

impl Server {
    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for an end that somebody else caused.
    pub fn ended(mut self, most: Duration) {
        let deadline = Instant::now() + most;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the server did not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Mounts and files below a directory.
fn left_below(data: &std::path::Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut left: Vec<String> =
        mounts.lines().filter(|line| line.contains(data.to_str().unwrap())).map(str::to_owned).collect();
    if data.exists() {
        left.push(data.display().to_string());
    }
    left
}

/// Whether this process may run containers; says that a test is skipped where it may not.
pub fn runs_containers() -> bool {
    let may = nix::unistd::geteuid().is_root();
    if !may {
        println!("skipped: running containers needs root");
    }
    may
}

/// A root directory for containers, where this process may run them; otherwise says why a test is skipped.
pub fn workload_root() -> Option<tempfile::TempDir> {
    if !runs_containers() {
        return None;
    }
    let root = busybox_root();
    if root.is_none() {
        println!("skipped: busybox-static is not installed");
    }
    root
}

/// A root directory with busybox and a web server that answers with its host name; `None` without busybox.
fn busybox_root() -> Option<tempfile::TempDir> {
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|path| path.exists())?;
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy(busybox, bin.join("busybox")).unwrap();
    for name in ["sh", "httpd", "mkdir", "hostname", "cat", "tar", "sleep", "stty"] {
        symlink("busybox", bin.join(name)).unwrap();
    }
    let script =
        "#!/bin/sh\nmkdir -p /www\necho \"$HOSTNAME\" >/www/index.html\nexec httpd -f -p 8080 -h /www\n";
    fs::write(bin.join("web"), script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bin.join("web"), mode).unwrap();
    Some(root)
}

/// The body that a GET of `/` on a node port brings, once something answers there.
pub fn get(port: u16) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match try_get(port) {
            Ok(body) => return body,
            Err(error) => assert!(Instant::now() < deadline, "nothing answers on port {port}: {error}"),
        }
    }
}

fn try_get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.contains(" 200 ") {
        return Err(std::io::Error::other(head.to_owned()));
    }
    Ok(body.trim().to_owned())
}
