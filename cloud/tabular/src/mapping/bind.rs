//! The mapping against the header of one table: names become positions.

use std::path::Path;

use telemetry::VehicleId;

use super::{LabelColumn, Mapping, SignalColumn, VehicleFrom, file::nearest};

/// A mapping whose columns were found in one table.
#[derive(Debug)]
pub struct Bound<'m> {
    pub(crate) mapping: &'m Mapping,
    pub(crate) vehicle: BoundVehicle,
    pub(crate) time: usize,
    /// Position, which of the mapping's signals, and the signal.
    pub(crate) signals: Vec<(usize, usize, &'m SignalColumn)>,
    /// Position, which of the mapping's labels.
    pub(crate) labels: Vec<(usize, usize)>,
}

#[derive(Debug)]
pub(crate) enum BoundVehicle {
    /// The same in every row.
    Fixed(VehicleId),
    /// In this column, behind this prefix.
    Column { position: usize, prefix: String },
}

/// The name that a file gives to a vehicle: the last parts of its path, without the extension, joined by `-`.
pub fn file_vehicle_name(path: &Path, parts: usize) -> String {
    let stem = path.with_extension("");
    let names: Vec<_> = stem.iter().filter_map(|part| part.to_str()).filter(|part| *part != "/").collect();
    names[names.len().saturating_sub(parts)..].join("-")
}

impl Mapping {
    /// Finds the columns in a table's header.
    ///
    /// # Errors
    /// Which columns are not there, and what the table has instead, in one line.
    pub fn bind(&self, header: &[String], path: &Path) -> Result<Bound<'_>, String> {
        let needed = self.signals.iter().filter(|signal| !signal.optional).map(|signal| signal.column.as_str());
        let needed = needed.chain([self.time_column.as_str()]);
        let vehicle_column = match &self.vehicle.from {
            VehicleFrom::Column(column) => Some(column.as_str()),
            _ => None,
        };
        let needed: Vec<_> = needed.chain(vehicle_column).chain(needed_labels(&self.labels)).collect();
        let missing: Vec<_> = needed.iter().filter(|name| !header.iter().any(|column| column == *name)).collect();
        if !missing.is_empty() {
            return Err(self.misfit(header, &missing, needed.len()));
        }
        let position = |name: &str| header.iter().position(|column| column == name);
        let all = self.signals.iter().map(|signal| signal.column.as_str()).chain(needed.iter().copied());
        if let Some(twice) = all.into_iter().find(|name| header.iter().filter(|column| column == name).count() > 1) {
            return Err(format!("the column {twice:?} stands twice in the table; give each a name of its own"));
        }
        let found = |name: &str| position(name).ok_or_else(|| format!("no column {name:?}"));
        let signals = self.signals.iter().enumerate();
        Ok(Bound {
            mapping: self,
            vehicle: self.bind_vehicle(path, found)?,
            time: found(&self.time_column)?,
            signals: signals.filter_map(|(at, signal)| Some((position(&signal.column)?, at, signal))).collect(),
            labels: self.labels.iter().enumerate().filter_map(|(at, l)| Some((position(&l.column)?, at))).collect(),
        })
    }

    fn bind_vehicle(&self, path: &Path, found: impl Fn(&str) -> Result<usize, String>) -> Result<BoundVehicle, String> {
        let source = &self.vehicle;
        let prefix = source.prefix.replace("{file}", &self.clean(&file_vehicle_name(path, 1)));
        let name = match &source.from {
            VehicleFrom::Column(column) => return Ok(BoundVehicle::Column { position: found(column)?, prefix }),
            VehicleFrom::Constant(constant) => constant.clone(),
            VehicleFrom::FileParts(parts) => self.clean(&file_vehicle_name(path, *parts)),
        };
        let name = format!("{prefix}{name}");
        let id = VehicleId::parse(&name);
        Ok(BoundVehicle::Fixed(id.map_err(|error| {
            format!("its name makes the vehicle {name:?}, but {error}; rename it, or set replace = \"_\" in [vehicle]")
        })?))
    }

    /// The text with `replace` in the place of what a vehicle's name can't have.
    pub(crate) fn clean(&self, text: &str) -> String {
        let Some(replace) = self.vehicle.replace else { return text.to_owned() };
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        text.chars().map(|c| if fine(c) { c } else { replace }).collect()
    }

    fn misfit(&self, header: &[String], missing: &[&&str], needed: usize) -> String {
        let there = list(header.iter().map(String::as_str));
        let delimiter = char::from(self.delimiter);
        if let ([only], Some(other)) =
            (header, [',', ';', '\t', '|'].iter().find(|other| header.iter().any(|name| name.contains(**other))))
        {
            let name = if *other == '\t' { "tab".to_owned() } else { other.to_string() };
            return format!(
                "no cell ends at the delimiter {delimiter:?}: the first line is {:?}; set delimiter = {name:?} in the mapping",
                shortened(only)
            );
        }
        let wanted = list(missing.iter().map(|name| **name));
        if missing.len() == needed {
            return format!(
                "the mapping fits nothing: it wants {wanted}, the table has {there}; is it the right mapping, has the table \
                 a header line (else set columns = […]), is {delimiter:?} its delimiter?"
            );
        }
        let near = missing.iter().find_map(|name| nearest(name, header.iter().map(String::as_str)));
        let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        format!("no column {wanted}; the table has {there}{near} A column that may be absent is optional = true")
    }
}

fn needed_labels(labels: &[LabelColumn]) -> impl Iterator<Item = &str> {
    labels.iter().filter(|label| !label.optional).map(|label| label.column.as_str())
}

/// Names for people, not more than a line holds.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<_> = names.map(|name| format!("{:?}", shortened(name))).collect();
    let rest = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - rest].join(", ");
    if rest == 0 { shown } else { format!("{shown} and {rest} more") }
}

fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(60)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(vehicle: &str, more: &str) -> Mapping {
        let text = format!("{more}\n[vehicle]\n{vehicle}\n[time]\ncolumn = \"t\"\nformat = \"unix-s\"\n");
        Mapping::parse(&format!("{text}[signals]\nspeed = \"Vehicle.Speed\"\n")).unwrap()
    }

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_mapping_that_fits_nothing_says_what_to_do() {
        let mapping = mapping("column = \"car\"", "");
        let fits = |names: &[&str]| mapping.bind(&header(names), Path::new("a.csv")).map(|_| ());
        assert_eq!(fits(&["t", "car", "speed", "more"]), Ok(()));
        let error = fits(&["a", "b"]).unwrap_err();
        for part in ["fits nothing", "\"speed\", \"t\", \"car\"", "\"a\", \"b\"", "header line", "delimiter"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let error = fits(&["t;car;speed"]).unwrap_err();
        assert!(error.contains("set delimiter = \";\""), "{error}");
        let error = fits(&["t", "car", "Speed"]).unwrap_err();
        assert!(error.contains("did you mean \"Speed\"?"), "{error}");
        assert!(fits(&["t", "car", "speed", "speed"]).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_file_gives_its_name_to_a_vehicle() {
        for (path, parts, name) in
            [("skab/valve1/3.csv", 1, "3"), ("skab/valve1/3.csv", 2, "valve1-3"), ("/x/3.csv", 9, "x-3"), ("3", 1, "3")]
        {
            assert_eq!(file_vehicle_name(Path::new(path), parts), name);
        }
        let bind = |mapping: &Mapping, path: &str| {
            let bound = mapping.bind(&header(&["t", "speed"]), Path::new(path));
            bound.map(|bound| match bound.vehicle {
                BoundVehicle::Fixed(id) => id.to_string(),
                BoundVehicle::Column { .. } => unreachable!(),
            })
        };
        let plain = mapping("file_parts = 1\nprefix = \"rig-\"", "");
        assert!(bind(&plain, "run 1.csv").unwrap_err().contains("replace"));
        assert_eq!(bind(&plain, "run1.csv").unwrap(), "rig-run1");
        let cleaned = mapping("file_parts = 1\nreplace = \"_\"", "");
        assert_eq!(bind(&cleaned, "run 1.csv").unwrap(), "run_1");
    }
}
