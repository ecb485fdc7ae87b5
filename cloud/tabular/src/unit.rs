//! Units that a column may be in, and the straight line from one to another of the same kind.

/// A straight line: `value * scale + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) scale: f64,
    pub(crate) offset: f64,
}

impl Line {
    pub(crate) const IDENTITY: Self = Self { scale: 1.0, offset: 0.0 };

    pub(crate) fn apply(self, value: f64) -> f64 {
        // Values that need no conversion keep every bit.
        if self == Self::IDENTITY { value } else { value * self.scale + self.offset }
    }

    /// First this line, then the other.
    pub(crate) fn then(self, next: Self) -> Self {
        Self { scale: self.scale * next.scale, offset: self.offset * next.scale + next.offset }
    }

    fn inverse(self) -> Self {
        Self { scale: 1.0 / self.scale, offset: -self.offset / self.scale }
    }
}

/// Name, kind, and the line to the kind's base unit.
struct Unit(&'static str, &'static str, f64, f64);

/// Those of the catalogue, named as there, and what else vehicles' data come in.
const UNITS: &[Unit] = &[
    Unit("km/h", "speed", 1.0, 0.0),
    Unit("m/s", "speed", 3.6, 0.0),
    Unit("mph", "speed", 1.609_344, 0.0),
    Unit("knots", "speed", 1.852, 0.0),
    Unit("celsius", "temperature", 1.0, 0.0),
    Unit("kelvin", "temperature", 1.0, -273.15),
    Unit("fahrenheit", "temperature", 5.0 / 9.0, -160.0 / 9.0),
    Unit("rankine", "temperature", 5.0 / 9.0, -273.15),
    Unit("kPa", "pressure", 1.0, 0.0),
    Unit("Pa", "pressure", 0.001, 0.0),
    Unit("hPa", "pressure", 0.1, 0.0),
    Unit("mbar", "pressure", 0.1, 0.0),
    Unit("bar", "pressure", 100.0, 0.0),
    Unit("psi", "pressure", 6.894_757_293_168, 0.0),
    Unit("V", "voltage", 1.0, 0.0),
    Unit("mV", "voltage", 0.001, 0.0),
    Unit("kV", "voltage", 1_000.0, 0.0),
    Unit("A", "current", 1.0, 0.0),
    Unit("mA", "current", 0.001, 0.0),
    Unit("percent", "share", 1.0, 0.0),
    Unit("ratio", "share", 100.0, 0.0),
    Unit("m", "length", 1.0, 0.0),
    Unit("km", "length", 1_000.0, 0.0),
    Unit("miles", "length", 1_609.344, 0.0),
    Unit("m/s^2", "acceleration", 1.0, 0.0),
    Unit("g", "acceleration", 9.806_65, 0.0),
    Unit("rpm", "rotation", 1.0, 0.0),
    Unit("hertz", "rotation", 60.0, 0.0),
    Unit("Nm", "torque", 1.0, 0.0),
    Unit("lbf-ft", "torque", 1.355_817_948_331_400_4, 0.0),
    Unit("g/s", "flow", 1.0, 0.0),
    Unit("kg/h", "flow", 1.0 / 3.6, 0.0),
    Unit("l/h", "volume flow", 1.0, 0.0),
    Unit("l/min", "volume flow", 60.0, 0.0),
    Unit("gal/h", "volume flow", 3.785_411_784, 0.0),
];

/// The line from one unit to another; says what is wrong where there is none.
pub(crate) fn conversion(from: &str, to: &str) -> Result<Line, String> {
    if from == to {
        return Ok(Line::IDENTITY);
    }
    let find = |name: &str| UNITS.iter().find(|unit| unit.0 == name);
    let line = |unit: &Unit| Line { scale: unit.2, offset: unit.3 };
    match (find(from), find(to)) {
        (Some(from), Some(to)) if from.1 == to.1 => Ok(line(from).then(line(to).inverse())),
        (Some(_), Some(to)) => {
            let fitting: Vec<_> = UNITS.iter().filter(|unit| unit.1 == to.1).map(|unit| unit.0).collect();
            Err(format!("{from:?} can't become {:?}; what can: {}", to.0, fitting.join(", ")))
        }
        (None, Some(to)) => {
            let fitting: Vec<_> = UNITS.iter().filter(|unit| unit.1 == to.1).map(|unit| unit.0).collect();
            Err(format!("the unit {from:?} is not known; known are {}, others by scale and offset", fitting.join(", ")))
        }
        (_, None) => Err(format!("nothing is known about {to:?}; leave the unit out, and use scale and offset")),
    }
}

#[cfg(test)]
mod tests {
    use telemetry::signal::CATALOGUE;

    use super::*;

    #[test]
    fn what_people_measure_in_becomes_what_the_catalogue_holds() {
        for (value, from, to, expected) in [
            (212.0, "fahrenheit", "celsius", 100.0),
            (-40.0, "fahrenheit", "celsius", -40.0),
            (491.67, "rankine", "celsius", 0.0),
            (273.15, "kelvin", "celsius", 0.0),
            (60.0, "mph", "km/h", 96.560_64),
            (10.0, "m/s", "km/h", 36.0),
            (32.0, "psi", "kPa", 220.632_233),
            (2.5, "bar", "kPa", 250.0),
            (0.5, "ratio", "percent", 50.0),
            (1.0, "g", "m/s^2", 9.806_65),
            (100.0, "celsius", "fahrenheit", 212.0),
        ] {
            let got = conversion(from, to).unwrap().apply(value);
            assert!((got - expected).abs() < 1e-6, "{value} {from} = {got} {to}");
        }
        assert_eq!(conversion("furlongs", "furlongs"), Ok(Line::IDENTITY));
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        let error = conversion("bar", "celsius").unwrap_err();
        assert!(error.contains("fahrenheit") && !error.contains("psi"), "{error}");
        assert!(conversion("furlongs", "km/h").unwrap_err().contains("scale and offset"));
        assert!(conversion("bar", "furlongs").unwrap_err().contains("furlongs"));
    }

    #[test]
    fn every_unit_of_the_catalogue_is_known_and_no_name_stands_twice() {
        for signal in CATALOGUE.iter().filter(|signal| !signal.unit.is_empty()) {
            assert!(UNITS.iter().any(|unit| unit.0 == signal.unit), "{}", signal.unit);
        }
        for (at, unit) in UNITS.iter().enumerate() {
            assert!(UNITS[at + 1..].iter().all(|other| other.0 != unit.0), "{}", unit.0);
        }
    }
}
