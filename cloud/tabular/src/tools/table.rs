//! A CSV file, row by row: the only place that knows the csv crate.

use std::{fs::File, path::Path};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use crate::{mapping::Mapping, rows::Rejection};

/// An open table, behind its header.
pub(super) struct Table {
    reader: Reader<File>,
    record: ByteRecord,
    pub(super) header: Vec<String>,
    line: u64,
}

impl Table {
    /// Opens a table and reads its header.
    ///
    /// # Errors
    /// Why it can't be read, in one line.
    pub(super) fn open(path: &Path, mapping: &Mapping) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let is_file = file.metadata().map_err(|error| error.to_string())?.is_file();
        if !is_file {
            return Err("it is no file; an import reads its tables twice, once before anything is sent".into());
        }
        let mut reader = ReaderBuilder::new()
            .delimiter(mapping.delimiter)
            .has_headers(mapping.columns.is_none())
            // A row of another length is put aside, not the end.
            .flexible(true)
            // Of CR LF the LF ends the line, and the CR is trimmed with other blanks: so lines are counted right.
            .terminator(Terminator::Any(b'\n'))
            .from_reader(file);
        let header = match &mapping.columns {
            Some(columns) => columns.clone(),
            None => {
                let header = reader.byte_headers().map_err(|error| error.to_string())?;
                let names = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned());
                names.map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect()
            }
        };
        if header.iter().all(String::is_empty) {
            return Err("it is empty".into());
        }
        Ok(Self { reader, record: ByteRecord::new(), header, line: 0 })
    }

    /// Moves to the next row; false at the end.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(super) fn advance(&mut self) -> Result<bool, String> {
        loop {
            if !self.reader.read_byte_record(&mut self.record).map_err(|error| error.to_string())? {
                return Ok(false);
            }
            let is_blank = self.record.len() == 1 && self.record[0].trim_ascii().is_empty();
            if !is_blank {
                break;
            }
        }
        // The reader's own position is before empty lines; what it has behind the row is right, if the row ended.
        let began = self.record.position().map_or(0, csv::Position::line);
        let inside: usize = self.record.iter().map(|cell| cell.iter().filter(|byte| **byte == b'\n').count()).sum();
        self.line = began.max(self.reader.position().line().saturating_sub(1 + inside as u64));
        Ok(true)
    }

    /// The line that the row begins in.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The row's cells, or why it is none.
    pub(super) fn cells(&self) -> Result<Vec<&str>, Rejection> {
        let reject = |reason, detail| Rejection { line: self.line(), column: None, reason, detail, row: true };
        let wanted = self.header.len();
        if self.record.len() != wanted {
            return Err(reject("row_shape", format!("{} cells, the header has {wanted}", self.record.len())));
        }
        let texts = self.record.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
        texts.map_err(|error| reject("not_utf8", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(text: &[u8], more: &str) -> Result<Table, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let mapping = Mapping::parse(&format!(
            "{more}\n[vehicle]\nconstant = \"a\"\n[time]\ncolumn = \"t\"\nformat = \"unix-s\"\n[signals]\nv = \"Vehicle.Speed\""
        ));
        Table::open(file.path(), &mapping.unwrap())
    }

    #[test]
    fn rows_are_read_and_broken_ones_put_aside() {
        let text = b"\xef\xbb\xbft; v\r\n1;\"2;5\"\r\n\r\n3\n4;\xff\n\n\n\"7\n\";8\n5;6";
        let mut table = open(text, "delimiter = \";\"").unwrap();
        assert_eq!(table.header, ["t", "v"]);
        let mut seen = Vec::new();
        while table.advance().unwrap() {
            let cells = table
                .cells()
                .map(|cells| cells.join("|").replace(char::is_whitespace, ""))
                .map_err(|rejection| rejection.reason);
            seen.push((table.line(), cells));
        }
        let ok = |cells: &str| Ok(cells.to_owned());
        let aside = [(4, Err("row_shape")), (5, Err("not_utf8"))];
        let expected = [&[(2, ok("1|2;5"))][..], &aside, &[(8, ok("7|8")), (10, ok("5|6"))]].concat();
        assert_eq!(seen, expected);
    }

    #[test]
    fn names_may_come_from_the_mapping_and_an_empty_table_is_told() {
        let mut table = open(b"1,2\n", "columns = [\"t\", \"v\"]").unwrap();
        assert!(table.advance().unwrap());
        assert_eq!(table.cells().unwrap(), ["1", "2"]);
        assert_eq!(open(b"", "").map(|_| ()).unwrap_err(), "it is empty");
        let mapping = Mapping::parse(crate::mapping::EXAMPLES[0].1).unwrap();
        assert!(Table::open(Path::new("."), &mapping).map(|_| ()).unwrap_err().contains("no file"));
    }
}
