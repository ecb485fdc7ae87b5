//! The page in headless Chromium, as big as a phone: an alert appears without reload, and its acknowledgement shows in
//! a second browser.

use std::time::Duration;

use anyhow::Context;
use tests::{
    browser::Browser,
    poll,
    scenario::{Fleet, Scenario},
};

const SOON: Duration = Duration::from_secs(60);

/// Notes every alert that is ever shown as acknowledged by Kim, however short.
const NOTE_ACKNOWLEDGED: &str = "
    window.acknowledged = new Set();
    new MutationObserver(() => {
        for (const card of document.querySelectorAll('[data-testid=alert-card][data-state=acknowledged]')) {
            if (card.innerText.includes('Kim')) window.acknowledged.add(card.dataset.alertId);
        }
    }).observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true})";

/// Clicks on one that fires and was not clicked on before.
const ACKNOWLEDGE_ONE: &str = "
    window.clicked ??= new Set();
    for (const card of document.querySelectorAll('[data-testid=alert-card][data-state=firing]')) {
        const button = card.querySelector('[data-testid=ack-button]');
        if (button && !window.clicked.has(card.dataset.alertId)) {
            window.clicked.add(card.dataset.alertId);
            button.click();
            break;
        }
    }";

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
    alex.eval(NOTE_ACKNOWLEDGED).await.unwrap();

    scenario.drive(Fleet::default()).await.unwrap();
    let firing = "document.querySelector('[data-testid=alert-card][data-state=firing]')";
    for browser in [&mut kim, &mut alex] {
        browser.wait_for(firing, SOON).await.unwrap();
    }
    kim.screenshot(&scenario.folder().join("alert.png")).await.unwrap();

    // An alert of this fleet may be over before the click reaches the alerter: then the next one is clicked.
    poll::until("an acknowledgement shows in the second browser", SOON, async || {
        let clicked = kim.eval(&format!("{ACKNOWLEDGE_ONE} [...window.clicked]")).await?;
        let shown = alex.eval("[...window.acknowledged]").await?;
        let clicked = clicked.as_array().context("what was clicked on")?;
        Ok(shown.as_array().context("what is shown")?.iter().any(|id| clicked.contains(id)).then_some(()))
    })
    .await
    .unwrap();
    alex.screenshot(&scenario.folder().join("acknowledged.png")).await.unwrap();
    for browser in [&mut kim, &mut alex] {
        assert_eq!(browser.eval("window.notReloaded").await.unwrap(), true, "the page was reloaded");
    }
    scenario.finish().await.unwrap().assert_ok();
}
