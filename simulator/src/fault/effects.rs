//! What the faults of a vehicle amount to at one moment, as the physics and the sensors take it.

use telemetry::UnixMillis;

use super::{
    Effect, Fault,
    effect::{ALTERNATOR_A, COOLANT_L},
};

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
    /// Share of the coolant that is left.
    pub coolant: f64,
    /// By how much the thermostat stays open, mm.
    pub thermostat_lift_mm: f64,
    /// Vibration of the weak hub, m/s² per m/s.
    pub hub_per_speed: f64,
    /// Share of its charge that the weak cell lacks.
    pub cell_deficit: f64,
    /// Share of the alternator's output that is left.
    pub alternator: f64,
    /// In series with the coolant's thermistor, Ω.
    pub contact_ohms: f64,
    /// Whether a sensor repeats its last value.
    pub frozen: bool,
    /// The 12 V set point below what it ought to be, V.
    pub set_point_drop_v: f64,
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
            coolant: 1.0,
            thermostat_lift_mm: 0.0,
            hub_per_speed: 0.0,
            cell_deficit: 0.0,
            alternator: 1.0,
            contact_ohms: 0.0,
            frozen: false,
            set_point_drop_v: 0.0,
        }
    }
}

impl Effects {
    /// Adds up the faults of one vehicle at a moment, ms since the epoch; those that are not there yet or no more
    /// add nothing.
    pub fn at(faults: &[Fault], time: UnixMillis) -> Self {
        let mut sum = Self::default();
        for fault in faults {
            let strength = fault.strength(time);
            if strength > 0.0 {
                sum.add(fault.kind.severity().effect, strength * fault.size());
            }
        }
        sum.possible()
    }

    /// Nothing loses more than all of it, whatever the size of a fault; of heat something always finds its way.
    fn possible(mut self) -> Self {
        for share in [&mut self.radiator, &mut self.jacket, &mut self.coolant, &mut self.alternator, &mut self.speed] {
            *share = share.max(0.02);
        }
        self
    }

    /// Share of the coolant's flow that is left: below three quarters of the coolant the pump draws air.
    pub(crate) fn coolant_flow(&self) -> f64 {
        ((self.coolant - 0.40) * 2.9).clamp(0.05, 1.0)
    }

    /// Share of the loop's heat capacity that is left: metal stays.
    pub(crate) fn coolant_mass(&self) -> f64 {
        0.4 + 0.6 * self.coolant
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
            Effect::CoolantLeak { lost_l } => self.coolant -= strength * lost_l / COOLANT_L,
            Effect::ThermostatOpen { lift_mm } => self.thermostat_lift_mm += strength * lift_mm,
            Effect::Race { per_speed } => self.hub_per_speed += strength * per_speed,
            Effect::WeakCell { deficit_percent } => self.cell_deficit += share(deficit_percent),
            Effect::Alternator { lost_a } => self.alternator -= strength * lost_a / ALTERNATOR_A,
            Effect::Contact { ohms } => self.contact_ohms += strength * ohms,
            Effect::Frozen => self.frozen = true,
            Effect::SetPoint { drop_v } => self.set_point_drop_v += strength * drop_v,
        }
    }
}
