//! Damage to a spool that no process has open.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// The segments, oldest first.
fn segments(spool: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(spool)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    files.sort();
    Ok(files)
}

/// The largest segment.
fn largest(spool: &Path) -> Result<(PathBuf, u64)> {
    let sized = segments(spool)?.into_iter().map(|path| Ok((fs::metadata(&path)?.len(), path)));
    let sized: Vec<(u64, PathBuf)> = sized.collect::<std::io::Result<_>>()?;
    let (bytes, path) = sized.into_iter().max().context("a segment")?;
    Ok((path, bytes))
}

/// Flips one bit at two thirds of the largest segment.
pub(super) fn flip_a_bit(spool: &Path) -> Result<()> {
    let (path, bytes) = largest(spool)?;
    let at = bytes * 2 / 3;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(())
}

/// Cuts the last bytes off the last segment that has records.
pub(super) fn tear(spool: &Path, bytes: u64) -> Result<()> {
    let (path, length) = largest(spool)?;
    ensure!(length > bytes + 1_000, "{} has only {length} bytes", path.display());
    File::options().write(true).open(path)?.set_len(length - bytes)?;
    Ok(())
}

/// Removes the checkpoint.
pub(super) fn forget_checkpoint(spool: &Path) -> Result<()> {
    fs::remove_file(spool.join("checkpoint")).context("remove the checkpoint")
}
