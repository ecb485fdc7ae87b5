//! What every object has to keep to beyond its schema. Pure: objects in, violations out.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::objects::{
    at, component, containers, environment, is_ours, kind, list, name, named, of_kind, pod, ports, references, selects,
    text, workloads,
};

/// Secrets that somebody else makes: (name, key).
pub(crate) type Externals = BTreeSet<(String, String)>;

/// Everything that is wrong, one line each.
pub(crate) fn violations(objects: &[Value], externals: &Externals) -> Vec<String> {
    let mut found = Vec::new();
    for object in objects {
        let namespace = if kind(object) == "Namespace" { name(object) } else { text(object, "/metadata/namespace") };
        if namespace != "motorcade" {
            found.push(format!("{}/{}: namespace {namespace:?}", kind(object), name(object)));
        }
    }
    for workload in workloads(objects) {
        let mut wrong = Vec::new();
        hardening(workload, &mut wrong);
        probes(objects, workload, &mut wrong);
        mounts(objects, workload, &mut wrong);
        wiring(objects, workload, externals, &mut wrong);
        found.extend(wrong.into_iter().map(|text| format!("{}/{}: {text}", kind(workload), name(workload))));
    }
    services(objects, &mut found);
    found
}

fn hardening(workload: &Value, wrong: &mut Vec<String>) {
    let pod = pod(workload);
    let mut expect = |object: &Value, who: &str, pointer: &str, wanted: Value| {
        if at(object, pointer) != &wanted {
            wrong.push(format!("{who}{pointer} is not {wanted}"));
        }
    };
    expect(pod, "", "/automountServiceAccountToken", json!(false));
    expect(pod, "", "/enableServiceLinks", json!(false));
    expect(pod, "", "/securityContext/runAsNonRoot", json!(true));
    expect(pod, "", "/securityContext/seccompProfile/type", json!("RuntimeDefault"));
    for field in ["/hostNetwork", "/hostPID", "/hostIPC"] {
        expect(pod, "", field, Value::Null);
    }
    for container in containers(workload) {
        let who = text(container, "/name");
        expect(container, who, "/securityContext/allowPrivilegeEscalation", json!(false));
        expect(container, who, "/securityContext/readOnlyRootFilesystem", json!(true));
        expect(container, who, "/securityContext/capabilities", json!({ "drop": ["ALL"] }));
        for field in ["privileged", "runAsUser", "runAsNonRoot", "seccompProfile"] {
            expect(container, who, &format!("/securityContext/{field}"), Value::Null);
        }
        let memory = at(container, "/resources/requests/memory");
        expect(container, who, "/resources/limits/memory", memory.clone());
    }
    if at(pod, "/securityContext/runAsUser").as_u64().is_none_or(|user| user == 0) {
        wrong.push("no user other than root is named".into());
    }
    for container in containers(workload) {
        let who = text(container, "/name");
        for resource in ["/resources/requests/memory", "/resources/requests/cpu"] {
            if at(container, resource).is_null() {
                wrong.push(format!("{who}: no {resource}"));
            }
        }
        let (_, tag) = text(container, "/image").rsplit_once(':').unwrap_or_default();
        if tag.is_empty() || tag == "latest" || !tag.contains('.') {
            wrong.push(format!("{who}: image {} is not pinned", text(container, "/image")));
        }
    }
    for label in ["name", "component", "part-of"] {
        let label = format!("app.kubernetes.io/{label}");
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if at(workload, labels).get(&label).is_none() {
                wrong.push(format!("no {labels} {label}"));
            }
        }
    }
}

/// Liveness is the process's own business, readiness may depend on others, and a stop gets its time.
fn probes(objects: &[Value], workload: &Value, wrong: &mut Vec<String>) {
    let its_ports = ports(workload);
    for container in list(pod(workload), "/containers") {
        let runs_on = kind(workload) != "Job" || !list(container, "/ports").is_empty();
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            let Some(definition) = container.get(probe) else {
                if runs_on {
                    wrong.push(format!("no {probe}"));
                }
                continue;
            };
            let action = definition.get("httpGet").or_else(|| definition.get("tcpSocket")).unwrap_or(&Value::Null);
            if !its_ports.contains_key(text(action, "/port")) {
                wrong.push(format!("{probe} asks a port that no container names"));
            }
            if is_ours(container) && (text(action, "/path") != path || text(action, "/port") != "admin") {
                wrong.push(format!("{probe} is not {path} of the admin listener"));
            }
        }
        let variables = environment(objects, container);
        if let Some(Some(grace)) = variables.get("MOTORCADE_GRACE_MS") {
            let grace: u64 = grace.parse().unwrap();
            let wait = at(container, "/lifecycle/preStop/sleep/seconds").as_u64().unwrap_or_default();
            let period = at(pod(workload), "/terminationGracePeriodSeconds").as_u64().unwrap_or(30);
            if period * 1000 <= grace + wait * 1000 {
                wrong.push(format!("killed after {period} s, but its stop may take {wait} s and {grace} ms"));
            }
        } else if is_ours(container) && runs_on {
            wrong.push("no MOTORCADE_GRACE_MS".into());
        }
        for (variable, port) in [("MOTORCADE_ADMIN_LISTEN", "admin"), ("MOTORCADE_LISTEN", "http")] {
            if let Some(Some(address)) = variables.get(variable) {
                let listens = address.strip_prefix("0.0.0.0:").and_then(|port| port.parse().ok());
                if listens.is_none() || listens != its_ports.get(port).copied() {
                    wrong.push(format!("{variable} {address} is not 0.0.0.0 and the port {port}"));
                }
            }
        }
    }
}

/// Mounted volumes exist, are bounded, and hold the files that flags and variables name.
fn mounts(objects: &[Value], workload: &Value, wrong: &mut Vec<String>) {
    let volumes = list(pod(workload), "/volumes");
    let claims = list(workload, "/spec/volumeClaimTemplates");
    for volume in volumes {
        if volume.get("hostPath").is_some() {
            wrong.push(format!("volume {} is a path of the node", text(volume, "/name")));
        }
        if let Some(empty) = volume.get("emptyDir")
            && empty.get("sizeLimit").is_none()
        {
            wrong.push(format!("volume {} has no limit", text(volume, "/name")));
        }
    }
    for container in containers(workload) {
        let mut writable = Vec::new();
        let mut files = BTreeSet::new();
        for mount in list(container, "/volumeMounts") {
            let (its_name, path) = (text(mount, "/name"), text(mount, "/mountPath"));
            let volume = volumes.iter().find(|volume| text(volume, "/name") == its_name);
            if volume.is_none() && !claims.iter().any(|claim| name(claim) == its_name) {
                wrong.push(format!("mounts {its_name}, which is no volume"));
            }
            if at(mount, "/readOnly") != &json!(true) {
                writable.push(format!("{path}/"));
            }
            for item in volume.into_iter().flat_map(|volume| list(volume, "/secret/items")) {
                files.insert(format!("{path}/{}", text(item, "/path")));
            }
        }
        for (variable, value) in environment(objects, container) {
            if variable.ends_with("_FILE") && !value.as_ref().is_some_and(|file| files.contains(file)) {
                wrong.push(format!("{variable} names {value:?}, which no volume holds"));
            }
        }
        for argument in list(container, "/args").iter().filter_map(Value::as_str).filter(|_| is_ours(container)) {
            if let Some((flag, path)) = argument.split_once("=/")
                && !writable.iter().any(|folder| format!("/{path}").starts_with(folder.as_str()))
            {
                wrong.push(format!("{flag} names /{path}, which is not writable"));
            }
        }
    }
}

/// Secrets, ConfigMaps and addresses lead somewhere.
fn wiring(objects: &[Value], workload: &Value, externals: &Externals, wrong: &mut Vec<String>) {
    for (kind, its_name, key) in references(workload) {
        let found = match named(objects, kind, &its_name) {
            Some(object) => key.as_ref().is_none_or(|key| at(object, "/data").get(key).is_some()),
            None if kind == "Secret" => externals
                .iter()
                .any(|(external, its_key)| *external == its_name && key.as_ref().is_none_or(|key| key == its_key)),
            None => false,
        };
        if !found {
            wrong.push(format!("{kind} {its_name} {key:?} is nowhere"));
        }
    }
    for container in containers(workload) {
        for (variable, value) in environment(objects, container) {
            let is_address = ["MOTORCADE_MQTT", "MOTORCADE_EDGE_MQTT", "MOTORCADE_KAFKA"].contains(&variable.as_str());
            if is_address {
                let addresses = value.as_deref().unwrap_or_default();
                wrong.extend(addresses.split(',').filter(|address| !leads_somewhere(objects, address)).map(
                    |address| {
                        format!("{variable}: no Service has a port for {address:?}, and it is no address outside")
                    },
                ));
            }
        }
    }
    if kind(workload) == "StatefulSet" && named(objects, "Service", text(workload, "/spec/serviceName")).is_none() {
        wrong.push("its Service is missing".into());
    }
    if !at(workload, "/spec/selector").is_null() && !selects(at(workload, "/spec/selector"), workload) {
        wrong.push("does not select its own pods".into());
    }
}

/// A bare name is a Service here (or a pod of one, `kafka-0.kafka`) with that port; more labels are outside.
pub(crate) fn leads_somewhere(objects: &[Value], address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let Ok(port) = port.parse::<u64>() else { return false };
    let labels: Vec<_> = host.split('.').collect();
    let Some(service) = named(objects, "Service", labels.last().unwrap()) else { return labels.len() > 2 };
    labels.len() <= 2 && list(service, "/spec/ports").iter().any(|its| at(its, "/port").as_u64() == Some(port))
}

fn services(objects: &[Value], found: &mut Vec<String>) {
    for service in of_kind(objects, &["Service"]) {
        let behind: Vec<_> = workloads(objects)
            .into_iter()
            .filter(|workload| selects(at(service, "/spec/selector"), workload))
            .collect();
        let [workload] = behind[..] else {
            found.push(format!("Service/{}: {} workloads stand behind it", name(service), behind.len()));
            continue;
        };
        for port in list(service, "/spec/ports") {
            if !ports(workload).contains_key(text(port, "/targetPort")) {
                let target = text(port, "/targetPort");
                found.push(format!("Service/{}: {} has no port {target:?}", name(service), component(workload)));
            }
        }
    }
}
