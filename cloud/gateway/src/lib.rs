//! The gateway: REST, WebSocket and the page.
