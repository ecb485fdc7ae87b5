//! Parquet files: the only place that knows the parquet crate.

use std::{fs::File, path::Path, sync::Arc};

use anyhow::{Context, Result};
use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{Type, TypePtr},
};

use crate::{
    columns::{Cells, Columns, Rows, Sparse},
    mapping::Form,
};

/// Cells of a row group, about: they are in memory until it is written.
const GROUP_CELLS: usize = 4_000_000;

/// A file that is being written, a row group at a time.
pub(crate) struct ParquetFile {
    writer: SerializedFileWriter<File>,
    rows: Rows,
    group_rows: usize,
}

impl ParquetFile {
    pub(crate) fn create(path: &Path, columns: &Columns) -> Result<Self> {
        let file = File::create_new(path)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("motorcade".to_owned())
            .build();
        let writer = SerializedFileWriter::new(file, schema(columns)?, Arc::new(properties))?;
        let group_rows = (GROUP_CELLS / columns.width()).max(1_000);
        Ok(Self { writer, rows: Rows::new(columns), group_rows })
    }

    /// The rows that wait; who has added some calls [`Self::settle`].
    pub(crate) fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    /// Writes what waits if it is a row group.
    pub(crate) fn settle(&mut self, columns: &Columns) -> Result<()> {
        if self.rows.len() < self.group_rows { Ok(()) } else { self.write(columns) }
    }

    fn write(&mut self, columns: &Columns) -> Result<()> {
        let rows = std::mem::replace(&mut self.rows, Rows::new(columns));
        let mut group = self.writer.next_row_group()?;
        dense::<Int32Type>(&mut group, &rows.partition)?;
        dense::<Int64Type>(&mut group, &rows.offset)?;
        dense::<ByteArrayType>(&mut group, &bytes(&rows.vehicle))?;
        dense::<Int64Type>(&mut group, &rows.boot)?;
        dense::<Int64Type>(&mut group, &rows.seq)?;
        dense::<ByteArrayType>(&mut group, &bytes(&rows.kind))?;
        dense::<Int64Type>(&mut group, &rows.event_time)?;
        dense::<Int64Type>(&mut group, &rows.ingest_time)?;
        if columns.position {
            rows.position.iter().try_for_each(|part| sparse::<DoubleType>(&mut group, &part.values, &part.levels))?;
        }
        for cells in &rows.signals {
            match cells {
                Cells::Numbers(cells) => sparse::<DoubleType>(&mut group, &cells.values, &cells.levels)?,
                Cells::Booleans(cells) => sparse::<BoolType>(&mut group, &cells.values, &cells.levels)?,
                Cells::Texts(cells) => texts(&mut group, cells)?,
            }
        }
        if columns.labels {
            texts(&mut group, &rows.label)?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes the rest and the file's end; gives its size in bytes.
    pub(crate) fn finish(mut self, columns: &Columns) -> Result<u64> {
        if self.rows.len() > 0 {
            self.write(columns)?;
        }
        let file = self.writer.into_inner()?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

fn bytes(texts: &[String]) -> Vec<ByteArray> {
    texts.iter().map(|text| ByteArray::from(text.as_str())).collect()
}

fn dense<T: DataType>(group: &mut SerializedRowGroupWriter<'_, File>, values: &[T::T]) -> Result<()> {
    column::<T>(group, values, None)
}

fn sparse<T: DataType>(group: &mut SerializedRowGroupWriter<'_, File>, values: &[T::T], levels: &[i16]) -> Result<()> {
    column::<T>(group, values, Some(levels))
}

fn texts(group: &mut SerializedRowGroupWriter<'_, File>, cells: &Sparse<String>) -> Result<()> {
    sparse::<ByteArrayType>(group, &bytes(&cells.values), &cells.levels)
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    let mut column = group.next_column()?.context("the schema has fewer columns than the rows")?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()?;
    Ok(())
}

fn schema(columns: &Columns) -> Result<TypePtr> {
    let field = |name: &str, physical, logical: Option<LogicalType>, repetition| {
        let built = Type::primitive_type_builder(name, physical).with_logical_type(logical).with_repetition(repetition);
        Ok::<_, parquet::errors::ParquetError>(Arc::new(built.build()?))
    };
    let (always, maybe) = (Repetition::REQUIRED, Repetition::OPTIONAL);
    let text = || Some(LogicalType::String);
    let time = || Some(LogicalType::timestamp(true, TimeUnit::MILLIS));
    let mut fields = vec![
        field("partition", Physical::INT32, None, always)?,
        field("offset", Physical::INT64, None, always)?,
        field("vehicle", Physical::BYTE_ARRAY, text(), always)?,
        field("boot", Physical::INT64, None, always)?,
        field("seq", Physical::INT64, None, always)?,
        field("kind", Physical::BYTE_ARRAY, text(), always)?,
        field("event_time", Physical::INT64, time(), always)?,
        field("ingest_time", Physical::INT64, time(), always)?,
    ];
    if columns.position {
        for name in ["latitude", "longitude", "heading"] {
            fields.push(field(name, Physical::DOUBLE, None, maybe)?);
        }
    }
    for (path, form) in &columns.signals {
        let (physical, logical) = match form {
            Form::Number => (Physical::DOUBLE, None),
            Form::Boolean => (Physical::BOOLEAN, None),
            Form::Text => (Physical::BYTE_ARRAY, text()),
        };
        fields.push(field(&Columns::name(path), physical, logical, maybe)?);
    }
    if columns.labels {
        fields.push(field("label", Physical::BYTE_ARRAY, text(), maybe)?);
    }
    Ok(Arc::new(Type::group_type_builder("telemetry").with_fields(fields).build()?))
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::{Field, RowAccessor},
    };
    use telemetry::Value;

    use super::*;
    use crate::{
        columns::{Found, Place},
        lanes::tests::{START, row},
    };

    #[test]
    fn what_is_written_is_read_back_across_row_groups() {
        let record = |seq: u64| {
            let mut record = row("veh-1", seq, START + seq as i64).record;
            record.seq = seq;
            if seq.is_multiple_of(2) {
                record.signals.insert_path("note", Value::Text(format!("n{seq}"))).unwrap();
                record.signals.insert_path("Vehicle.IsMoving", Value::Boolean(true)).unwrap();
            }
            record
        };
        let mut found = Found::default();
        (1..=2).for_each(|seq| found.take(&record(seq)).unwrap());
        let columns = found.columns(true);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let mut file = ParquetFile::create(&path, &columns).unwrap();
        file.group_rows = 3;
        for seq in 1..=8 {
            let place = Place { partition: 1, offset: seq as i64 + 10, ingest_time: START };
            file.rows().push(&columns, place, &record(seq), (seq == 5).then(|| "hot".to_owned()));
            file.settle(&columns).unwrap();
        }
        assert!(file.finish(&columns).unwrap() > 0);
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.num_row_groups(), 3);
        let names: Vec<_> =
            reader.metadata().file_metadata().schema_descr().columns().iter().map(|c| c.name().to_owned()).collect();
        assert_eq!(names[..3], ["partition", "offset", "vehicle"]);
        assert_eq!(names[8..], ["Vehicle.IsMoving", "Vehicle.Speed", "note", "label"]);
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect();
        assert_eq!(rows.len(), 8);
        for (at, row) in rows.iter().enumerate() {
            let seq = at as i64 + 1;
            assert_eq!(
                (row.get_int(0).unwrap(), row.get_long(1).unwrap(), row.get_long(4).unwrap()),
                (1, seq + 10, seq)
            );
            assert_eq!(row.get_timestamp_millis(6).unwrap(), START + seq);
            assert_eq!(row.get_double(9).unwrap(), seq as f64);
            let cell = |at: usize| row.get_column_iter().nth(at).unwrap().1.clone();
            let even = seq % 2 == 0;
            assert_eq!(cell(8), if even { Field::Bool(true) } else { Field::Null });
            assert_eq!(cell(10), if even { Field::Str(format!("n{seq}")) } else { Field::Null });
            assert_eq!(cell(11), if seq == 5 { Field::Str("hot".into()) } else { Field::Null });
        }
    }
}
