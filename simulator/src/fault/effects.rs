//! What the faults of a vehicle amount to at one moment, as the physics and the sensors take it.

use super::{ActiveFault, Effect};

/// The sum of all active faults. The default is a healthy vehicle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effects {
    /// Cold pressure lost by the weak wheel, kPa.
    pub tyre_loss_kpa: f64,
    /// Share of the coolant-to-air conductance that is left.
    pub radiator: f64,
    /// Share of the motor-to-coolant conductance that is left.
    pub jacket: f64,
    /// Factor on the battery's internal resistance.
    pub resistance: f64,
    /// Added vibration, m/s² per 1,000 rpm.
    pub vibration_per_1000_rpm: f64,
    /// 12 V net below its set point, V.
    pub low_voltage_drop_v: f64,
    /// Factor on the heat of motor and inverter.
    pub loss: f64,
    /// Offset of the reported battery current, A.
    pub current_offset_a: f64,
    /// Offset of the reported accelerator pedal, percent.
    pub accelerator_offset_percent: f64,
    /// Brake force while moving, N.
    pub drag_n: f64,
    /// Factor on the reported speed.
    pub speed: f64,
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            tyre_loss_kpa: 0.0,
            radiator: 1.0,
            jacket: 1.0,
            resistance: 1.0,
            vibration_per_1000_rpm: 0.0,
            low_voltage_drop_v: 0.0,
            loss: 1.0,
            current_offset_a: 0.0,
            accelerator_offset_percent: 0.0,
            drag_n: 0.0,
            speed: 1.0,
        }
    }
}

impl Effects {
    /// Adds up the faults, each by its row of the table at its age.
    pub fn of(faults: &[ActiveFault]) -> Self {
        let mut sum = Self::default();
        for fault in faults {
            let severity = fault.kind.severity();
            sum.add(severity.effect, severity.onset.strength(fault.age_ms));
        }
        sum
    }

    fn add(&mut self, effect: Effect, strength: f64) {
        let share = |percent: f64| strength * percent / 100.0;
        match effect {
            Effect::TyreLeak { loss_kpa } => self.tyre_loss_kpa += strength * loss_kpa,
            Effect::Cooling { radiator_percent, jacket_percent } => {
                self.radiator *= 1.0 - share(radiator_percent);
                self.jacket *= 1.0 - share(jacket_percent);
            }
            Effect::Resistance { percent } => self.resistance *= 1.0 + share(percent),
            Effect::Bearing { per_1000_rpm } => self.vibration_per_1000_rpm += strength * per_1000_rpm,
            Effect::LowVoltage { drop_v } => self.low_voltage_drop_v += strength * drop_v,
            Effect::Loss { percent } => self.loss *= 1.0 + share(percent),
            Effect::Current { offset_a } => self.current_offset_a += strength * offset_a,
            Effect::Accelerator { offset_percent } => self.accelerator_offset_percent += strength * offset_percent,
            Effect::Drag { force_n } => self.drag_n += strength * force_n,
            Effect::Speed { low_percent } => self.speed *= 1.0 - share(low_percent),
        }
    }
}
