//! Files that appear under their name when they are whole, and not before.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Serialize;
use service::Error;
use tempfile::{NamedTempFile, TempDir};

/// A file of JSON lines.
pub(super) struct Lines {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

/// The folder that a path is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Lines {
    /// # Errors
    /// [`Error::Usage`] with the flag if nothing can be written there.
    pub(super) fn create(flag: &'static str, path: &Path) -> Result<Self, Error> {
        let file = NamedTempFile::new_in(folder(path))
            .map_err(|error| Error::Usage { flag, detail: format!("{}: {error}", path.display()) })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    pub(super) fn line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut self.file, value).with_context(|| format!("write {}", self.path.display()))?;
        self.file.write_all(b"\n").with_context(|| format!("write {}", self.path.display()))?;
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Self { path, file } = self;
        let told = || format!("write {}", path.display());
        let file = file.into_inner().map_err(|error| anyhow::anyhow!("{}", error.error())).with_context(told)?;
        file.as_file().sync_all().with_context(told)?;
        file.persist(&path).with_context(told)?;
        Ok(())
    }
}

/// A new folder that gets its name when everything is in it; dropped before, it leaves nothing.
pub(super) struct NewFolder {
    path: PathBuf,
    under_way: TempDir,
}

impl NewFolder {
    /// # Errors
    /// [`Error::Usage`] with the flag if the name is taken or nothing can be written there.
    pub(super) fn create(flag: &'static str, path: &Path) -> Result<Self, Error> {
        let usage = |detail: String| Error::Usage { flag, detail };
        if path.symlink_metadata().is_ok() {
            return Err(usage(format!("{} is there already; name a new folder", path.display())));
        }
        let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
        let under_way = tempfile::Builder::new().prefix(&prefix).suffix(".partial").tempdir_in(folder(path));
        let under_way = under_way.map_err(|error| usage(format!("{}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), under_way })
    }

    /// Where to write meanwhile.
    pub(super) fn path(&self) -> &Path {
        self.under_way.path()
    }

    /// Gives the folder its name.
    pub(super) fn finish(self) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt;
        let told = || format!("write {}", self.path.display());
        // What is under way is the owner's only; what is there is a folder like others.
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.under_way.path(), mode).with_context(told)?;
        // A folder that is not empty is never replaced by a rename.
        std::fs::rename(self.under_way.path(), &self.path).with_context(told)?;
        std::fs::File::open(folder(&self.path)).and_then(|folder| folder.sync_all()).with_context(told)?;
        Ok(())
    }
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to stdout")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_half_written_has_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let mut lines = Lines::create("labels-out", &path).unwrap();
        lines.line(&[1, 2]).unwrap();
        assert!(!path.exists());
        lines.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[1,2]\n");

        let path = dir.path().join("new");
        let folder = NewFolder::create("out", &path).unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        drop(folder);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "an export given up leaves nothing");
        let folder = NewFolder::create("out", &path).unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        folder.finish().unwrap();
        assert!(path.join("a").exists());
        let again = NewFolder::create("out", &path).map(|_| ()).unwrap_err();
        assert_eq!(again.exit_code(), 64);
        assert!(again.to_string().starts_with("--out: "), "{again}");
    }
}
