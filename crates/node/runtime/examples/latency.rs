//! How long pods take here, and what their shims weigh: `latency PROGRAM [COUNT]`, as root, with busybox-static installed.
//! PROGRAM is `ferrokube` or `ferrokube-runtime-agent`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use images::{Build, ImageConfig, LayerSource, Store, StoreConfig, build_layout};
use runtime::{ContainerConfig, Runtime, RuntimeConfig, SandboxConfig, SeccompProfile, SecurityContext};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let program = PathBuf::from(args.next().ok_or("usage: latency PROGRAM [COUNT]")?);
    let count: usize = args.next().map_or(Ok(10), |n| n.parse())?;
    let dir = std::env::temp_dir().join(format!("frl{}", std::process::id()));
    let store = Store::open(dir.join("images"), StoreConfig::default())?;
    let image = store.import(&layout(&dir)?, None).await?.remove(0);
    let runtime = Runtime::open(RuntimeConfig {
        root: dir.join("root"),
        state: dir.join("state"),
        cgroup_prefix: format!("/frl-{}/kubepods", std::process::id()).into(),
        self_exe: program.canonicalize()?,
        images: store,
        seccomp_dir: dir.join("seccomp"),
    })?;
    let mut times: Vec<(&str, Vec<Duration>)> =
        ["sandbox", "create", "start", "exec", "stop", "remove"].map(|name| (name, Vec::new())).into();
    let mut resident = Vec::new();
    for n in 0..count {
        let mut begun = Instant::now();
        let mut lap = |at: usize| {
            times[at].1.push(begun.elapsed());
            begun = Instant::now();
        };
        let config =
            SandboxConfig { uid: format!("u{n}"), log_directory: dir.join("logs"), ..Default::default() };
        let pod = runtime.run_sandbox(config).await?;
        lap(0);
        let container = ContainerConfig {
            command: vec!["sleep".into(), "1000".into()],
            log_path: format!("{n}.log").into(),
            security: SecurityContext { seccomp: SeccompProfile::RuntimeDefault, ..Default::default() },
            ..Default::default()
        };
        let id = runtime.create_container(&pod, container, &image).await?;
        lap(1);
        runtime.start_container(&id).await?;
        lap(2);
        runtime.exec_sync(&id, vec!["true".into()], Duration::from_secs(10)).await?;
        lap(3);
        resident.push(shim_resident_kib(&dir, &id)?);
        runtime.stop_container(&id, Duration::ZERO).await?;
        lap(4);
        runtime.remove_sandbox(&pod).await?;
        lap(5);
    }
    runtime.cleanup_all().await?;
    std::fs::remove_dir_all(&dir)?;
    for (name, mut all) in times {
        all.sort_unstable();
        println!("{name:8} median {:6.1} ms, best {:6.1} ms", ms(all[all.len() / 2]), ms(all[0]));
    }
    resident.sort_unstable();
    println!(
        "shim     median {} KiB resident, of which {} KiB its own",
        resident[count / 2].0,
        resident[count / 2].1
    );
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Resident memory of a container's shim: all (mostly the program's file, which all shims share), and what it wrote.
fn shim_resident_kib(dir: &Path, id: &str) -> Result<(u64, u64)> {
    let marker = dir.join("root/containers").join(id);
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(marker.to_str().unwrap_or_default()) {
            let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup"))?;
            let field = |name: &str| {
                let line = rollup.lines().find(|l| l.starts_with(name));
                line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
            };
            return Ok((field("Rss:"), field("Private_Dirty:")));
        }
    }
    Err("no shim".into())
}

fn layout(dir: &Path) -> Result<PathBuf> {
    let root = dir.join("rootfs");
    for sub in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        std::fs::create_dir_all(root.join(sub))?;
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for applet in ["sh", "sleep", "true"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    let layers = vec![LayerSource::Dir(root)];
    let build = Build { name: "bench:1".into(), layers, config: ImageConfig::default(), gzip: false };
    build_layout(&dir.join("layout"), &build)?;
    Ok(dir.join("layout"))
}
