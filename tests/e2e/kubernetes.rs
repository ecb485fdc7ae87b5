//! `k8s/`: both overlays render, every object is valid, and what they say about the executables is true.

mod flags;
mod images;
mod objects;
mod policy;
mod render;
mod siblings;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use objects::{
    at, component, containers, environment, list, name, of_kind, pod, ports, references, selects, text, workloads,
};
use policy::{Externals, violations};
use render::{LOCAL, PROD, read, validate};

/// Secrets that the README asks for: rows of its table that begin with two names in back-ticks.
fn documented() -> Externals {
    let readme = read("k8s/README.md");
    let rows = readme.lines().filter_map(|line| line.trim().strip_prefix("| `motorcade-"));
    rows.map(|row| {
        let mut names = row.split('`');
        let (secret, key) = (names.next().unwrap(), names.nth(1).unwrap());
        (format!("motorcade-{secret}"), key.to_owned())
    })
    .collect()
}

#[test]
fn every_object_is_valid() {
    for (overlay, checked, least) in [("local", &LOCAL, 25), ("prod", &PROD, 25)] {
        assert!(checked.objects.len() > least, "{overlay}: only {} objects", checked.objects.len());
        assert!(checked.problems.is_empty(), "{overlay}: {:#?}", checked.problems);
    }
    let overlays = std::fs::read_dir(render::root().join("k8s/overlays")).unwrap().count();
    assert_eq!(overlays, 2, "an overlay that this test does not know");
}

#[test]
fn the_validation_refuses_what_it_should() {
    let good = of_kind(&LOCAL.objects, &["Deployment"])[0].clone();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut object = good.clone();
        change(&mut object);
        validate(&object.to_string()).problems
    };
    assert!(refused(&|_| {}).is_empty());
    // Both oldest and newest schemas speak up.
    let field = refused(&|object| object["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = json!({}));
    assert!(field.len() == 2 && field.iter().all(|problem| problem.contains("livenessprobe")), "{field:?}");
    let unknown = refused(&|object| object["kind"] = json!("Deploymnet"));
    assert!(unknown.len() == 2 && unknown.iter().all(|problem| problem.contains("schema")), "{unknown:?}");
    assert_eq!(refused(&|object| object["apiVersion"] = json!("apps/v1beta1")).len(), 2);
    assert_eq!(refused(&|object| object["spec"]["replicas"] = json!("two")).len(), 2);
}

#[test]
fn every_object_keeps_to_the_policies() {
    assert_eq!(violations(&LOCAL.objects, &Externals::new()), Vec::<String>::new(), "local");
    assert_eq!(violations(&PROD.objects, &documented()), Vec::<String>::new(), "prod");
    // The README asks for no Secret that nobody reads.
    let read: BTreeSet<_> = workloads(&PROD.objects).into_iter().flat_map(references).collect();
    for (secret, key) in documented() {
        assert!(
            read.contains(&("Secret", secret.clone(), Some(key))),
            "the README asks for {secret}, which nobody reads"
        );
    }
}

/// Breaks one thing and expects one policy to notice.
#[test]
fn the_policies_refuse_what_they_should() {
    type Break = fn(&mut Value);
    let cases: [(&str, &str, &str, Break); 15] = [
        ("Deployment", "gateway", "runAsNonRoot", |o| {
            o["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] = json!(false)
        }),
        ("Deployment", "gateway", "no user", |o| {
            o["spec"]["template"]["spec"]["securityContext"]["runAsUser"] = json!(0)
        }),
        ("StatefulSet", "edge", "limits/memory", |o| container(o)["resources"]["limits"]["memory"] = json!("9Gi")),
        ("StatefulSet", "edge", "capabilities", |o| {
            container(o)["securityContext"]["capabilities"] = json!({ "drop": [] })
        }),
        ("StatefulSet", "edge", "not pinned", |o| container(o)["image"] = json!("motorcade-edge:latest")),
        ("Deployment", "twin", "no livenessProbe", |o| {
            container(o).as_object_mut().unwrap().remove("livenessProbe");
        }),
        ("Deployment", "twin", "livenessProbe is not", |o| {
            container(o)["livenessProbe"]["httpGet"]["path"] = json!("/readyz")
        }),
        ("Deployment", "twin", "readinessProbe asks", |o| {
            container(o)["readinessProbe"]["httpGet"]["port"] = json!("http")
        }),
        ("Deployment", "gateway", "killed after", |o| {
            o["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(25)
        }),
        ("Deployment", "gateway", "MOTORCADE_LISTEN", |o| container(o)["ports"][1]["containerPort"] = json!(8081)),
        ("Deployment", "gateway", "no volume holds", |o| {
            o["spec"]["template"]["spec"]["volumes"][1]["secret"]["items"][0]["path"] = json!("other")
        }),
        ("Deployment", "gateway", "is nowhere", |o| {
            o["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] = json!("other")
        }),
        ("Service", "mosquitto", "0 workloads", |o| {
            o["spec"]["selector"] = json!({ "app.kubernetes.io/name": "other" })
        }),
        ("Service", "mosquitto", "no Service has a port", |o| o["spec"]["ports"][1]["port"] = json!(1885)),
        ("Job", "simulator", "not writable", |o| {
            container(o).as_object_mut().unwrap().remove("volumeMounts");
        }),
    ];
    for (kind, its_name, wanted, change) in cases {
        let mut objects = LOCAL.objects.clone();
        let object = objects.iter_mut().find(|object| object["kind"] == kind && name(object) == its_name).unwrap();
        change(object);
        let found = violations(&objects, &Externals::new());
        assert!(found.iter().any(|violation| violation.contains(wanted)), "{kind}/{its_name}: {wanted}: {found:?}");
    }
}

fn container(workload: &mut Value) -> &mut Value {
    &mut workload["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn flags_and_environment_names_exist_in_the_executables() {
    for (overlay, checked) in [("local", &LOCAL), ("prod", &PROD)] {
        assert_eq!(flags::unknown(&checked.objects), Vec::<String>::new(), "{overlay}");
    }
    let mut edge = objects::named(&LOCAL.objects, "StatefulSet", "edge").unwrap().clone();
    let variables = container(&mut edge)["env"].as_array_mut().unwrap();
    variables.push(json!({ "name": "MOTORCADE_NO_SUCH_THING", "value": "1" }));
    let found = flags::unknown(&[edge.clone()]);
    assert!(matches!(&found[..], [one] if one.contains("MOTORCADE_NO_SUCH_THING")), "{found:?}");
    container(&mut edge)["args"] = json!(["--no-such-flag=1"]);
    let found = flags::unknown(&[edge]);
    assert!(matches!(&found[..], [one] if one.contains("--no-such-flag")), "{found:?}");
}

#[test]
fn every_role_runs_in_both_overlays_and_the_simulator_in_one() {
    for (checked, simulators) in [(&LOCAL, 1), (&PROD, 0)] {
        let components: Vec<_> = workloads(&checked.objects).into_iter().map(component).collect();
        let count = |wanted: &str| components.iter().filter(|component| **component == wanted).count();
        for role in tests::stack::Role::ALL {
            assert_eq!(count(role.name()), 1, "{}", role.name());
        }
        assert_eq!((count("mqtt-broker"), count("topics"), count("simulator")), (1, 1, simulators));
    }
}

#[test]
fn the_edge_has_a_client_id_that_stays_and_that_no_vehicle_can_have() {
    for (checked, replicas, standby) in [(&LOCAL, 1, None), (&PROD, 2, Some("true"))] {
        let edge = objects::named(&checked.objects, "StatefulSet", "edge").unwrap();
        let variables = environment(&checked.objects, containers(edge)[0]);
        let variable = |name: &str| variables.get(name).cloned().flatten();
        // The same in every pod, with the full stop that no vehicle's name can hold.
        let id = variable("MOTORCADE_EDGE_ID").unwrap();
        assert!(id.contains('.') && !id.contains('$'), "{id}");
        assert_eq!(variable("MOTORCADE_EDGE_HOT_STANDBY").as_deref(), standby);
        assert_eq!(at(edge, "/spec/replicas"), replicas, "two that do not share would fight over the session");
    }
}

#[test]
fn the_spool_of_the_edge_outlives_its_pod_and_fits_its_volume() {
    let edge = objects::named(&LOCAL.objects, "StatefulSet", "edge").unwrap();
    let container = containers(edge)[0];
    let variables = environment(&LOCAL.objects, container);
    let spool = variables["MOTORCADE_EDGE_SPOOL"].clone().unwrap();
    let mounts = list(container, "/volumeMounts").iter();
    let mounted: Vec<_> = mounts.filter(|mount| spool.starts_with(text(mount, "/mountPath"))).collect();
    let claims = list(edge, "/spec/volumeClaimTemplates");
    let claim = claims.iter().find(|claim| text(claim, "/metadata/name") == text(mounted[0], "/name")).unwrap();
    let limit_mib: u64 = variables["MOTORCADE_EDGE_SPOOL_LIMIT_MIB"].clone().unwrap().parse().unwrap();
    let gib: u64 = text(claim, "/spec/resources/requests/storage").strip_suffix("Gi").unwrap().parse().unwrap();
    assert!(limit_mib < gib * 1024, "{limit_mib} MiB in {gib} GiB");
}

#[test]
fn addresses_of_local_lead_to_its_own_services() {
    let secrets = of_kind(&LOCAL.objects, &["Secret"]);
    let uri = secrets.iter().find_map(|secret| at(secret, "/stringData").get("uri")).unwrap().as_str().unwrap();
    let address = uri.strip_prefix("mongodb://").unwrap().split('/').next().unwrap();
    assert!(policy::leads_somewhere(&LOCAL.objects, address), "{uri}");
    assert!(!policy::leads_somewhere(&LOCAL.objects, "mongo-0.mongo:27018"));
    let configured = read("k8s/overlays/local/mongod.conf");
    let (_, set) = uri.split_once("replicaSet=").unwrap();
    assert!(configured.contains(&format!("replSetName: {set}\n")));
    for secret in secrets {
        for (key, value) in at(secret, "/stringData").as_object().unwrap() {
            assert!(key != "token" || value.as_str().unwrap().len() >= 16, "{}: a token is longer", name(secret));
        }
    }
}

#[test]
fn prod_survives_a_drain_and_lets_through_what_is_needed_and_no_more() {
    let objects = &PROD.objects;
    let lasting: Vec<_> = workloads(objects).into_iter().filter(|workload| objects::kind(workload) != "Job").collect();
    for budget in of_kind(objects, &["PodDisruptionBudget"]) {
        let guarded = lasting.iter().filter(|workload| selects(at(budget, "/spec/selector"), workload)).count();
        assert_eq!(guarded, 1, "budget {}", name(budget));
    }
    for workload in &lasting {
        let budgets = of_kind(objects, &["PodDisruptionBudget"]);
        assert!(budgets.iter().any(|budget| selects(at(budget, "/spec/selector"), workload)), "{}", name(workload));
        let replicas = at(workload, "/spec/replicas").as_u64().unwrap();
        let spread = list(pod(workload), "/topologySpreadConstraints");
        assert!(replicas == 1 || spread.len() == 2, "{}: {replicas} replicas on one node", name(workload));
    }
    let policies = of_kind(objects, &["NetworkPolicy"]);
    assert!(policies.iter().any(|policy| {
        at(policy, "/spec/podSelector") == &json!({})
            && at(policy, "/spec") == &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
    }));
    let egress = |workload: &Value, port: u64| {
        let mine = policies.iter().filter(|policy| selects(at(policy, "/spec/podSelector"), workload));
        mine.flat_map(|policy| list(policy, "/spec/egress"))
            .any(|rule| list(rule, "/ports").iter().any(|its| at(its, "/port") == port))
    };
    for workload in workloads(objects) {
        let variables = environment(objects, containers(workload).pop().unwrap());
        let kafka = variables.get("MOTORCADE_KAFKA").cloned().flatten();
        for address in kafka.iter().flat_map(|addresses| addresses.split(',')) {
            let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
            assert!(egress(workload, port), "{}: no way to {address}", name(workload));
        }
        assert_eq!(kafka.is_some(), egress(workload, 9092), "{}: Kafka", name(workload));
        assert_eq!(variables.contains_key("MOTORCADE_MONGO"), egress(workload, 27017), "{}: MongoDB", name(workload));
    }
    for policy in &policies {
        let selector = at(policy, "/spec/podSelector");
        let selected: Vec<_> = workloads(objects).into_iter().filter(|workload| selects(selector, workload)).collect();
        assert!(!selected.is_empty(), "{} selects nothing", name(policy));
        for port in list(policy, "/spec/ingress").iter().flat_map(|rule| list(rule, "/ports")) {
            let known = selected.iter().any(|workload| ports(workload).contains_key(text(port, "/port")));
            assert!(known, "{}: port {port}", name(policy));
        }
    }
    // mosquitto's vehicles' listener has no passwords: nobody from outside the namespace comes near it.
    let broker = policies.iter().find(|policy| name(policy) == "mosquitto").unwrap();
    for peer in list(broker, "/spec/ingress").iter().flat_map(|rule| list(rule, "/from")) {
        assert!(
            peer.get("podSelector").is_some()
                && peer.get("namespaceSelector").is_none()
                && peer.get("ipBlock").is_none()
        );
    }
}
