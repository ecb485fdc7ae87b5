//! The quick rows of the chaos suite; `make chaos` runs all. Logs, ledger and spool of a row stay in
//! `target/chaos/<row>`, and of one that fails what the services stored as well.

async fn holds(row: &str) {
    tests::process::build_executables().unwrap();
    let row = tests::chaos::row(row).unwrap();
    let outcome = Box::pin(row.run()).await.unwrap();
    assert!(outcome.is_ok() && outcome.skipped.is_none(), "{}: {outcome:#?}", row.fault);
}

macro_rules! rows {
    ($($test:ident = $row:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                holds($row).await;
            }
        )*

        #[test]
        fn every_quick_row_is_tested() {
            let quick: Vec<_> = tests::chaos::rows().into_iter().filter(|row| row.quick).map(|row| row.name).collect();
            assert_eq!(quick, [$($row),*]);
        }
    };
}

rows! {
    the_edge_is_killed_five_times = "edge-killed";
    broker_and_edge_are_killed_at_once = "broker-and-edge-killed";
    everybody_is_killed_and_comes_back_in_a_random_order = "all-killed-1";
    the_edge_is_killed_twice_while_300_000_readings_wait = "backlog";
    the_edge_is_killed_while_it_spools = "edge-killed-spooling";
    a_bit_of_the_spool_flips = "spool-bit-flipped";
    connections_are_reset_in_the_middle_of_packets = "reset-in-publish";
    a_forged_acknowledgement_is_found = "control-forged-ledger";
}
