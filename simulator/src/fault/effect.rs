//! What a fault does at full strength, in physical units.

/// What a fault does at full strength, in physical units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Air lost by one tyre, as cold pressure.
    TyreLeak {
        /// kPa.
        loss_kpa: f64,
    },
    /// Heat conductances lost.
    Cooling {
        /// Percent of the conductance from coolant to air.
        radiator_percent: f64,
        /// Percent of the conductance from motor to coolant.
        jacket_percent: f64,
    },
    /// Internal resistance of the traction battery.
    Resistance {
        /// Added percent.
        percent: f64,
    },
    /// Vibration added in proportion to the motor's speed.
    Bearing {
        /// m/s² per 1,000 rpm.
        per_1000_rpm: f64,
    },
    /// 12 V net below its set point.
    LowVoltage {
        /// V.
        drop_v: f64,
    },
    /// Heat of motor and inverter.
    Loss {
        /// Added percent.
        percent: f64,
    },
    /// Offset of the reported battery current.
    Current {
        /// A, positive = charging.
        offset_a: f64,
    },
    /// Offset of the reported accelerator pedal.
    Accelerator {
        /// Percent of the pedal's travel.
        offset_percent: f64,
    },
    /// Force of a brake that does not release, while moving.
    Drag {
        /// N at the wheel's rim.
        force_n: f64,
    },
    /// Reported speed too low.
    Speed {
        /// Percent of the true speed.
        low_percent: f64,
    },
    /// Coolant lost from the loop.
    CoolantLeak {
        /// Litres of 5.5.
        lost_l: f64,
    },
    /// A thermostat that does not close.
    ThermostatOpen {
        /// The valve stays open by so much, mm of 8.
        lift_mm: f64,
    },
    /// A pitted race in a wheel's bearing.
    Race {
        /// Vibration of the hub, m/s² per m/s of the vehicle.
        per_speed: f64,
    },
    /// One cell of the traction battery holds less than the others.
    WeakCell {
        /// Percent of its charge.
        deficit_percent: f64,
    },
    /// Output that the alternator has lost.
    Alternator {
        /// A of 150.
        lost_a: f64,
    },
    /// A bad contact in series with the coolant's thermistor.
    Contact {
        /// Ω.
        ohms: f64,
    },
    /// A sensor repeats its last value.
    Frozen,
    /// Software that regulates the 12 V net too low.
    SetPoint {
        /// V.
        drop_v: f64,
    },
}

/// What is in a cooling loop, l.
pub(super) const COOLANT_L: f64 = 5.5;
/// What an alternator gives at most, A.
pub(super) const ALTERNATOR_A: f64 = 150.0;

impl Effect {
    /// How large it is at full strength, and in which unit.
    pub fn magnitude(self) -> (f64, &'static str) {
        match self {
            Self::TyreLeak { loss_kpa } => (loss_kpa, "kPa lost"),
            Self::Cooling { radiator_percent, .. } => (radiator_percent, "% of the radiator's conductance lost"),
            Self::Resistance { percent } => (percent, "% of the resistance added"),
            Self::Bearing { per_1000_rpm } => (per_1000_rpm, "m/s^2 per 1000 rpm"),
            Self::LowVoltage { drop_v } => (drop_v, "V lost"),
            Self::Loss { percent } => (percent, "% of the heat added"),
            Self::Current { offset_a } => (offset_a, "A"),
            Self::Accelerator { offset_percent } => (offset_percent, "% of the pedal's travel"),
            Self::Drag { force_n } => (force_n, "N"),
            Self::Speed { low_percent } => (low_percent, "% of the speed lost"),
            Self::CoolantLeak { lost_l } => (lost_l, "l lost"),
            Self::ThermostatOpen { lift_mm } => (lift_mm, "mm of lift"),
            Self::Race { per_speed } => (per_speed, "m/s^2 per m/s"),
            Self::WeakCell { deficit_percent } => (deficit_percent, "% of a cell's charge missing"),
            Self::Alternator { lost_a } => (lost_a, "A lost"),
            Self::Contact { ohms } => (ohms, "ohm"),
            Self::Frozen => (1.0, "sensor frozen"),
            Self::SetPoint { drop_v } => (drop_v, "V lost"),
        }
    }
}
