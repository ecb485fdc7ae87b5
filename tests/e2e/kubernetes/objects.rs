//! Reading rendered objects: fields by path, workloads, pods, references.

use std::collections::BTreeMap;

use serde_json::Value;

/// What stands at a JSON pointer; null where nothing does.
pub(crate) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}

pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer).as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn kind(object: &Value) -> &str {
    text(object, "/kind")
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kinds: &[&str]) -> Vec<&'a Value> {
    objects.iter().filter(|object| kinds.contains(&kind(object))).collect()
}

pub(crate) fn named<'a>(objects: &'a [Value], wanted: &str, its_name: &str) -> Option<&'a Value> {
    objects.iter().find(|object| kind(object) == wanted && name(object) == its_name)
}

/// Whatever makes pods.
pub(crate) fn workloads(objects: &[Value]) -> Vec<&Value> {
    of_kind(objects, &["Deployment", "StatefulSet", "DaemonSet", "Job"])
}

pub(crate) fn pod(workload: &Value) -> &Value {
    at(workload, "/spec/template/spec")
}

pub(crate) fn containers(workload: &Value) -> Vec<&Value> {
    let pod = pod(workload);
    list(pod, "/initContainers").iter().chain(list(pod, "/containers")).collect()
}

/// A process of ours, not a tool that ends by itself and not somebody else's program.
pub(crate) fn is_ours(container: &Value) -> bool {
    text(container, "/name") == "motorcade"
}

pub(crate) fn component(workload: &Value) -> &str {
    at(workload, "/spec/template/metadata/labels")
        .get("app.kubernetes.io/component")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Does a selector (of labels, or of label expressions with `In`) take the pods of this workload?
pub(crate) fn selects(selector: &Value, workload: &Value) -> bool {
    let labels = at(workload, "/spec/template/metadata/labels");
    let all = |wanted: &Value| {
        wanted.as_object().is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    };
    let plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let labels_match = if plain { all(selector) } else { all(at(selector, "/matchLabels")) };
    labels_match
        && list(selector, "/matchExpressions").iter().all(|expression| {
            assert_eq!(text(expression, "/operator"), "In", "only In is used");
            labels.get(text(expression, "/key")).is_some_and(|value| list(expression, "/values").contains(value))
        })
}

/// Ports of a workload's containers by name.
pub(crate) fn ports(workload: &Value) -> BTreeMap<String, u64> {
    containers(workload)
        .into_iter()
        .flat_map(|container| list(container, "/ports"))
        .map(|port| (text(port, "/name").to_owned(), at(port, "/containerPort").as_u64().unwrap_or_default()))
        .collect()
}

/// Environment of a container: name to value, with ConfigMaps looked up; `None` where a Secret or a field of the
/// pod fills it.
pub(crate) fn environment(objects: &[Value], container: &Value) -> BTreeMap<String, Option<String>> {
    let map = |name: &str| named(objects, "ConfigMap", name).map_or(&Value::Null, |map| at(map, "/data"));
    let mut found = BTreeMap::new();
    for from in list(container, "/envFrom") {
        let data = map(text(from, "/configMapRef/name"));
        for (key, value) in data.as_object().into_iter().flatten() {
            found.insert(key.clone(), value.as_str().map(ToOwned::to_owned));
        }
    }
    for variable in list(container, "/env") {
        let value = match variable.get("value") {
            Some(value) => value.as_str(),
            None => {
                let reference = at(variable, "/valueFrom/configMapKeyRef");
                map(text(reference, "/name")).get(text(reference, "/key")).and_then(Value::as_str)
            }
        };
        found.insert(text(variable, "/name").to_owned(), value.map(ToOwned::to_owned));
    }
    found
}

/// A Secret or ConfigMap that a pod needs: kind, name, and the key where one is named.
pub(crate) type Reference = (&'static str, String, Option<String>);

pub(crate) fn references(workload: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    for container in containers(workload) {
        for from in list(container, "/envFrom") {
            for (kind, field) in [("ConfigMap", "configMapRef"), ("Secret", "secretRef")] {
                if let Some(reference) = from.get(field) {
                    found.push((kind, name_of(reference), None));
                }
            }
        }
        for variable in list(container, "/env") {
            for (kind, field) in [("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")] {
                if let Some(reference) = at(variable, "/valueFrom").get(field) {
                    found.push((kind, name_of(reference), Some(text(reference, "/key").to_owned())));
                }
            }
        }
    }
    for volume in list(pod(workload), "/volumes") {
        for (kind, field, its_name) in [("ConfigMap", "configMap", "/name"), ("Secret", "secret", "/secretName")] {
            let Some(reference) = volume.get(field) else { continue };
            let its_name = text(reference, its_name).to_owned();
            found.push((kind, its_name.clone(), None));
            for item in list(reference, "/items") {
                found.push((kind, its_name.clone(), Some(text(item, "/key").to_owned())));
            }
        }
    }
    found
}

fn name_of(reference: &Value) -> String {
    text(reference, "/name").to_owned()
}
