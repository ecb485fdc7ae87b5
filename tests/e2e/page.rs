//! The page in headless Chromium, as big as a phone: an alert appears without reload, and its acknowledgement shows in
//! a second browser.

use std::time::Duration;

use tests::{
    browser::Browser,
    scenario::{Fleet, Scenario},
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_appears_without_reload_and_its_acknowledgement_shows_in_a_second_browser() {
    let mut scenario = Scenario::start("page").await.unwrap();
    let page = format!("http://{}/", scenario.stack.running("gateway").unwrap().address("http").unwrap());
    let (one, two) = (Browser::launch().await.unwrap(), Browser::launch().await.unwrap());
    let (mut kim, mut alex) = (one.open(&page).await.unwrap(), two.open(&page).await.unwrap());
    for browser in [&mut kim, &mut alex] {
        browser.eval("localStorage.setItem('motorcade.actor', 'Kim'); window.notReloaded = true").await.unwrap();
        browser
            .wait_for("document.querySelector('[data-testid=connection]')?.dataset.state === 'live'", SOON)
            .await
            .unwrap();
        browser.wait_for("!document.querySelector('[data-testid=alert-card]')", SOON).await.unwrap();
    }

    scenario.drive(Fleet::default()).await.unwrap();
    let firing = "document.querySelector('[data-testid=alert-card][data-state=firing]')";
    for browser in [&mut kim, &mut alex] {
        browser.wait_for(firing, SOON).await.unwrap();
    }
    kim.screenshot(&scenario.folder().join("alert.png")).await.unwrap();

    // One that fires at this moment: the first one may be over, a picture takes a while.
    kim.wait_for(firing, SOON).await.unwrap();
    let acknowledge = format!(
        "(card => {{ card.querySelector('[data-testid=ack-button]').click(); return card.dataset.alertId; }})({firing})"
    );
    let id = kim.eval(&acknowledge).await.unwrap();
    let card =
        format!("document.querySelector('[data-testid=alert-card][data-alert-id=\"{}\"]')", id.as_str().unwrap());
    alex.wait_for(&format!("{card}?.dataset.state === 'acknowledged'"), SOON).await.unwrap();
    alex.wait_for(&format!("{card}?.innerText.includes('Kim')"), SOON).await.unwrap();
    alex.screenshot(&scenario.folder().join("acknowledged.png")).await.unwrap();
    for browser in [&mut kim, &mut alex] {
        assert_eq!(browser.eval("window.notReloaded").await.unwrap(), true, "the page was reloaded");
    }
    scenario.finish().await.unwrap().assert_ok();
}
