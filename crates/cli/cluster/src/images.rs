//! `ferrokube images`: list, build, import, pull and remove images.
//!
//! The store belongs to the running server; then the command goes through its admin socket. Without a server the store
//! is opened directly.

use std::path::PathBuf;

use anyhow::{Context, Result};
use images::{Build, ImageConfig, LayerSource, PullOptions, Store, StoreConfig};
use serde::{Deserialize, Serialize};

use crate::admin::{self, Request};
use crate::paths::Paths;

/// What can be done with images.
#[derive(Clone, Debug, clap::Subcommand, Serialize, Deserialize)]
pub enum ImagesCommand {
    /// List images with their size
    Ls,
    /// Load an OCI layout (directory or tar) or a `docker save` archive
    Import {
        /// Directory or archive
        path: PathBuf,
        /// Name for the image, when the archive gives none or another is wanted
        #[arg(long)]
        name: Option<String>,
    },
    /// Fetch an image from a registry
    Pull {
        /// Such as nginx:1.27 or registry.example.com/team/app@sha256:…
        reference: String,
    },
    /// Remove images by name or id
    Rm {
        /// Names or ids
        #[arg(required = true)]
        references: Vec<String>,
    },
    /// Make an image from a directory with a root file system
    Build {
        /// Its name, such as localhost/app:1
        name: String,
        /// Directory whose files become the image
        #[arg(long, value_name = "DIR")]
        rootfs: PathBuf,
        /// Program and arguments that a container runs (may be repeated)
        #[arg(long)]
        cmd: Vec<String>,
        /// Environment, as NAME=value (may be repeated)
        #[arg(long)]
        env: Vec<String>,
        /// User that runs the program
        #[arg(long, default_value = "")]
        user: String,
    },
}

/// Runs the command, in the server where one runs.
pub async fn run(command: ImagesCommand, paths: &Paths) -> Result<()> {
    let mut scratch = None;
    let command = match command {
        ImagesCommand::Build { name, rootfs, cmd, env, user } => {
            let dir = std::env::temp_dir().join(format!("ferrokube-build-{}", std::process::id()));
            scratch = Some(RemoveAtEnd(dir.clone()));
            let config = ImageConfig { cmd, env, user, ..ImageConfig::default() };
            let build = Build { name, layers: vec![LayerSource::Dir(rootfs)], config, gzip: false };
            let layout = dir.clone();
            tokio::task::spawn_blocking(move || images::build_layout(&layout, &build)).await??;
            ImagesCommand::Import { path: dir, name: None }
        }
        ImagesCommand::Import { path, name } => {
            let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
            ImagesCommand::Import { path, name }
        }
        other => other,
    };
    let show = |line: &str| crate::progress::print_line(line);
    match crate::process::running(paths) {
        Some(_) => admin::ask(paths, &Request::Images(command), show).await?,
        None => {
            let store = Store::open(paths.images(), StoreConfig::default())?;
            perform(&store, command, &show).await?;
        }
    }
    drop(scratch);
    Ok(())
}

struct RemoveAtEnd(PathBuf);

impl Drop for RemoveAtEnd {
    fn drop(&mut self) {
        // A left-over in the temporary directory is only untidy.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Does the work on an open store; `show` gets the lines for the person.
pub async fn perform(store: &Store, command: ImagesCommand, show: admin::Show<'_>) -> Result<()> {
    match command {
        ImagesCommand::Ls => list(store, show),
        ImagesCommand::Import { path, name } => {
            for image in store.import(&path, name.as_deref()).await? {
                show(&format!("imported {} ({})", label(&image), size(image.size_bytes)));
            }
        }
        ImagesCommand::Pull { reference } => {
            show(&format!("pulling {reference} ..."));
            let image = store.pull(&reference, PullOptions::default()).await?;
            show(&format!("pulled {} ({})", label(&image), size(image.size_bytes)));
        }
        ImagesCommand::Rm { references } => {
            for reference in references {
                store.remove(&reference).await?;
                show(&format!("removed {reference}"));
            }
        }
        ImagesCommand::Build { .. } => anyhow::bail!("images are built by the command, not by the server"),
    }
    Ok(())
}

fn list(store: &Store, show: admin::Show<'_>) {
    let images = store.list();
    let rows: Vec<[String; 3]> = images
        .iter()
        .flat_map(|image| {
            let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
            let id = id.get(..12).unwrap_or(id).to_owned();
            let names = if image.repo_tags.is_empty() { vec![label(image)] } else { image.repo_tags.clone() };
            names.into_iter().map(move |name| [name, id.clone(), size(image.size_bytes)])
        })
        .collect();
    let width = rows.iter().map(|[name, ..]| name.len()).max().unwrap_or(0).max("IMAGE".len());
    show(&format!("{:width$}  {:12}  SIZE", "IMAGE", "ID"));
    for [name, id, size] in rows {
        show(&format!("{name:width$}  {id:12}  {size}"));
    }
}

fn label(image: &images::Image) -> String {
    image.repo_tags.first().or(image.repo_digests.first()).unwrap_or(&image.id).clone()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
