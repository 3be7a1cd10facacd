//! The log engine against crashes, damage, rivals and full disks.

use super::*;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};

fn open(directory: &Path) -> Result<(LogEngine, Vec<Vec<u8>>), EngineError> {
    let mut frames = Vec::new();
    let engine = LogEngine::open(directory, &mut |frame| {
        frames.push(frame.to_vec());
        Ok(())
    })?;
    Ok((engine, frames))
}

fn append(engine: &mut LogEngine, frames: &[&[u8]]) {
    let mut batch = Batch::new();
    frames.iter().for_each(|frame| batch.frame(|buffer| buffer.extend_from_slice(frame)));
    engine.append(&mut batch).unwrap();
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    segment::path(directory, number)
}

#[test]
fn keeps_frames_in_order_across_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let (mut engine, frames) = open(&store).unwrap();
    assert!(frames.is_empty());
    append(&mut engine, &[b"a", b"b"]);
    append(&mut engine, &[b"c"]);
    drop(engine);
    let (mut engine, frames) = open(&store).unwrap();
    assert_eq!(frames, [b"a", b"b", b"c"]);
    append(&mut engine, &[b"d"]);
    drop(engine);
    assert_eq!(open(&store).unwrap().1, [b"a", b"b", b"c", b"d"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store), 0o700);
    assert_eq!(mode(&segment_path(&store, 1)), 0o600);
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let _engine = open(directory.path()).unwrap();
    let refused = open(directory.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
}

#[test]
fn every_torn_tail_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, _) = open(directory.path()).unwrap();
    append(&mut engine, &[b"first", b"second"]);
    let end = engine.segment.as_ref().unwrap().end();
    append(&mut engine, &[b"the last block", b"of two frames"]);
    let full = engine.segment.as_ref().unwrap().end();
    drop(engine);
    let path = segment_path(directory.path(), 1);
    let original = fs::read(&path).unwrap();
    for cut in end..full {
        for filler in [None, Some(0), Some(0xa5)] {
            let mut torn = original[..cut as usize].to_vec();
            if let Some(filler) = filler {
                torn.resize(full as usize + 100, filler);
            }
            fs::write(&path, &torn).unwrap();
            let _ = fs::remove_file(segment_path(directory.path(), 2));
            let (mut engine, frames) = open(directory.path()).unwrap();
            // Zeros may complete a block that ends in zeros; these do not, so only a cut at the very end keeps it.
            assert_eq!(frames, [&b"first"[..], b"second"], "cut at {cut}, filled with {filler:?}");
            append(&mut engine, &[b"after"]);
            drop(engine);
            assert_eq!(open(directory.path()).unwrap().1, [&b"first"[..], b"second", b"after"]);
        }
    }
}

#[test]
fn damage_to_acknowledged_blocks_is_refused_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, _) = open(directory.path()).unwrap();
    append(&mut engine, &[b"first"]);
    append(&mut engine, &[b"second"]);
    drop(engine);
    let path = segment_path(directory.path(), 1);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"X", segment::HEADER_BYTES as u64 + 20).unwrap();
    let refused = open(directory.path()).unwrap_err();
    assert!(matches!(&refused, EngineError::Corrupt { offset: 32, .. }), "{refused}");
    file.write_all_at(b"f", segment::HEADER_BYTES as u64 + 20).unwrap();
    assert_eq!(open(directory.path()).unwrap().1.len(), 2);
}

#[test]
fn a_checkpoint_replaces_and_frees_the_past() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, _) = open(directory.path()).unwrap();
    append(&mut engine, &[b"a"]);
    append(&mut engine, &[b"b"]);
    let mut unfinished = engine.begin_checkpoint().unwrap();
    unfinished.frame(b"lost").unwrap();
    drop(unfinished);
    let mut checkpoint = engine.begin_checkpoint().unwrap();
    append(&mut engine, &[b"c"]);
    checkpoint.frame(b"a+b").unwrap();
    assert!(checkpoint.finish().unwrap() > 0);
    assert!(engine.log_bytes() < 100);
    drop(engine);
    let (engine, frames) = open(directory.path()).unwrap();
    assert_eq!(frames, [&b"a+b"[..], b"c"]);
    drop(engine);
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["0000000000000003.checkpoint", "0000000000000003.log", "LOCK"]);
    // Without its log, a checkpoint alone would silently forget: that is refused.
    fs::remove_file(segment_path(directory.path(), 3)).unwrap();
    assert!(matches!(open(directory.path()), Err(EngineError::Corrupt { .. })));
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, _) = open(directory.path()).unwrap();
    append(&mut engine, &[b"a"]);
    let mut checkpoint = engine.begin_checkpoint().unwrap();
    checkpoint.frame(b"a").unwrap();
    checkpoint.finish().unwrap();
    drop(engine);
    let path = checkpoint::path(directory.path(), 2);
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(matches!(open(directory.path()), Err(EngineError::Corrupt { .. })), "cut at {cut}");
    }
}

#[test]
fn a_failed_write_is_void_even_if_its_bytes_stay() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, _) = open(directory.path()).unwrap();
    append(&mut engine, &[b"a"]);
    // As after a failed sync: the block's bytes are in the file, and the caller was told that it failed.
    append(&mut engine, &[b"failed"]);
    engine.sequence -= 1;
    engine.segment = None;
    append(&mut engine, &[b"b"]);
    drop(engine);
    assert_eq!(open(directory.path()).unwrap().1, [b"a", b"b"]);
}

#[test]
fn damage_of_any_kind_gives_a_beginning_or_a_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, _) = open(directory.path()).unwrap();
    let frames: Vec<Vec<u8>> = (0..12u8).map(|number| vec![number; number as usize * 7]).collect();
    frames.chunks(2).for_each(|pair| append(&mut engine, &[&pair[0], &pair[1]]));
    let end = engine.segment.as_ref().unwrap().end();
    drop(engine);
    let path = segment_path(directory.path(), 1);
    let original = fs::read(&path).unwrap();
    let random = env::Random::seeded(5);
    for _ in 0..300 {
        let mut damaged = original[..end as usize + 40].to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(damaged.len());
            damaged[at] ^= 1 << random.below(8);
        }
        if random.below(3) == 0 {
            damaged.truncate(random.below(damaged.len()));
        }
        fs::write(&path, &damaged).unwrap();
        match open(directory.path()) {
            Ok((_, seen)) => assert_eq!(seen, frames[..seen.len()], "frames come in order or not at all"),
            Err(error) => assert!(matches!(error, EngineError::Corrupt { .. }), "{error}"),
        }
    }
}
