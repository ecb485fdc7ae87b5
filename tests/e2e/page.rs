//! The page in headless Chromium, as big as a phone: an alert appears without reload, and its acknowledgement shows in
//! a second browser.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
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

/// Clicks on one of these alerts; which one, or null.
fn acknowledge_one_of(ids: &Value) -> String {
    format!(
        "(() => {{
            for (const id of {ids}) {{
                const card = document.querySelector(`[data-alert-id='${{id}}'][data-state=firing]`);
                const button = card?.querySelector('[data-testid=ack-button]');
                if (!button) continue;
                button.click();
                return id;
            }}
            return null;
        }})()"
    )
}

/// Those that fire, and those that were ever shown as acknowledged.
const FIRING_AND_NOTED: &str = "[
    [...document.querySelectorAll('[data-testid=alert-card][data-state=firing]')].map(card => card.dataset.alertId),
    [...window.acknowledged]]";

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

    // An alert of this fleet may be over before the click reaches the alerter: then, and only then, the next one is
    // clicked. One that goes on firing although it was clicked is waited for in vain.
    let mut clicked: Option<Value> = None;
    poll::until("an acknowledgement shows in the second browser", SOON, async || {
        let seen = alex.eval(FIRING_AND_NOTED).await?;
        let Some(id) = &clicked else {
            clicked = Some(kim.eval(&acknowledge_one_of(&seen[0])).await?).filter(|id| !id.is_null());
            return Ok(None);
        };
        let is_among = |at: usize| seen[at].as_array().map(|ids| ids.contains(id)).context("a list of alerts");
        if is_among(1)? {
            return Ok(Some(()));
        }
        if !is_among(0)? {
            clicked = None;
        }
        Ok(None)
    })
    .await
    .unwrap();
    alex.screenshot(&scenario.folder().join("acknowledged.png")).await.unwrap();
    for browser in [&mut kim, &mut alex] {
        assert_eq!(browser.eval("window.notReloaded").await.unwrap(), true, "the page was reloaded");
    }
    scenario.finish().await.unwrap().assert_ok();
}
