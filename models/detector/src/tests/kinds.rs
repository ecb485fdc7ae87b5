//! All kinds of detector behind the same verbs.

use super::*;

#[test]
fn every_kind_trains_saves_loads_and_scores() {
    for kind in Kind::ALL {
        let options = Options { kind, ..options() };
        let detector = control::ungated(healthy(), &options).unwrap();
        assert_eq!(detector.card().detector, kind);
        assert!(detector.version().starts_with(kind.as_str()), "{}", detector.version());
        assert_eq!(kind.as_str().parse(), Ok(kind));
        let again = Detector::load(&detector.save()).unwrap();
        // A fault that lasts longer than what averages see.
        let faulty = records(3, 0.3, 240);
        let (one, other) = (judged(&detector, &faulty, 60), judged(&again, &faulty, 60));
        assert_eq!(bits(&one), bits(&other), "{kind}");
        assert!(one.iter().all(Option::is_some), "{kind}");
        assert!(anomalous(&one) >= 30, "{kind}: {} of 60", anomalous(&one));
        let health = judged(&again, &records(3, 0.0, 240), 240);
        assert!(anomalous(&health) <= 24, "{kind}: {} of 240", anomalous(&health));
    }
    assert!("forest".parse::<Kind>().unwrap_err().contains("leave-one-out"));
}

#[test]
fn kinds_expect_better_the_less_simple_they_are() {
    let explained = |kind| {
        let detector = control::ungated(healthy(), &Options { kind, ..options() }).unwrap();
        let judged: Vec<f64> = detector.card().signals.iter().filter(|s| s.judged).map(|s| s.explained).collect();
        judged.iter().sum::<f64>() / judged.len() as f64
    };
    let [z, pca, autoencoder, leave_one_out] = Kind::ALL.map(explained);
    assert!(z.abs() < 0.2, "{z}");
    assert!(pca > 0.8 && autoencoder > 0.8 && leave_one_out > 0.8, "{pca} {autoencoder} {leave_one_out}");
}

#[test]
fn a_residual_has_the_same_bits_at_any_place_beside_any_others() {
    let queries = queries(&records(3, 0.3, 300));
    let (one, all) = (&queries[280], queries.iter().collect::<Vec<_>>());
    for kind in Kind::ALL {
        let detector = control::ungated(healthy(), &Options { kind, steps: 20, ..options() }).unwrap();
        let alone = detector.look(&[one]).unwrap().remove(0);
        for place in 0..256 {
            let batch: Vec<_> =
                all[..place].iter().copied().chain([one]).chain(all[place..255].iter().copied()).collect();
            let among = detector.look(&batch).unwrap().remove(place);
            assert_eq!(format!("{among:?}"), format!("{alone:?}"), "{kind}: place {place}");
        }
    }
}
