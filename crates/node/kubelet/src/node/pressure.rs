//! How the machine is: memory and disk against the eviction thresholds that upstream has by default.

use std::path::Path;

use super::info::{file_system, memory};

/// Least available memory in bytes (`memory.available<100Mi`).
const MEMORY_MIN: i64 = 100 << 20;
/// Least free part of the file systems: pods' data, its inodes, images.
const NODE_FS_MIN: f64 = 0.10;
const INODES_MIN: f64 = 0.05;
const IMAGE_FS_MIN: f64 = 0.15;

/// What is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk or inodes.
    pub disk: bool,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Bytes of memory available without swapping.
    pub memory_available: i64,
    /// Bytes, bytes free, inodes, inodes free of the pods' file system.
    pub node_fs: [u64; 4],
    /// The same of the images' file system.
    pub image_fs: [u64; 4],
}

impl Sample {
    /// Measures.
    pub fn take(data: &Path, images: &Path) -> Sample {
        Sample {
            memory_available: memory().1,
            node_fs: file_system(data).unwrap_or_default(),
            image_fs: file_system(images).unwrap_or_default(),
        }
    }

    /// Judges.
    pub fn pressure(&self) -> Pressure {
        let part = |have: u64, of: u64| if of == 0 { 1.0 } else { have as f64 / of as f64 };
        Pressure {
            memory: self.memory_available < MEMORY_MIN,
            disk: part(self.node_fs[1], self.node_fs[0]) < NODE_FS_MIN
                || part(self.node_fs[3], self.node_fs[2]) < INODES_MIN
                || part(self.image_fs[1], self.image_fs[0]) < IMAGE_FS_MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let good =
            Sample { memory_available: 1 << 30, node_fs: [100, 50, 100, 50], image_fs: [100, 50, 0, 0] };
        assert_eq!(good.pressure(), Pressure::default());
        assert!(Sample { memory_available: 99 << 20, ..good }.pressure().memory);
        assert!(Sample { node_fs: [100, 9, 100, 50], ..good }.pressure().disk);
        assert!(Sample { node_fs: [100, 50, 100, 4], ..good }.pressure().disk);
        assert!(Sample { image_fs: [100, 14, 0, 0], ..good }.pressure().disk);
    }
}
