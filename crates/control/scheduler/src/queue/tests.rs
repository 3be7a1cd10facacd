//! Who is tried when, and who waits for what.

use meta::Codec;

use super::*;

fn pod(uid: &str, priority: i32) -> Arc<Pod> {
    let text = format!(r#"{{"metadata":{{"uid":"{uid}","name":"{uid}"}},"spec":{{"priority":{priority}}}}}"#);
    Arc::new(Pod::from_json(text.as_bytes()).unwrap())
}

fn name(popped: Option<Popped>) -> Option<String> {
    popped.map(|popped| popped.pod.uid().to_string())
}

fn setup() -> (Queue, Vec<Profile>) {
    (Queue::default(), vec![Profile::default()])
}

static CLUSTER: std::sync::LazyLock<Cluster> = std::sync::LazyLock::new(Cluster::default);

fn cluster() -> &'static Cluster {
    &CLUSTER
}

fn event(event: ClusterEvent) -> Happening<'static> {
    Happening { event, about: About::Other, cluster: cluster() }
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn priority_goes_before_age() {
    let (mut queue, profiles) = setup();
    for (uid, priority) in [("old", 0), ("young", 0), ("important", 9)] {
        queue.add(pod(uid, priority), 0, false, (&profiles, cluster()), at(0));
    }
    let order: Vec<_> = (0..4).map(|_| name(queue.pop(at(0)))).collect();
    assert_eq!(order, [Some("important".into()), Some("old".into()), Some("young".into()), None]);
}

#[test]
fn an_attempt_sends_a_pod_to_the_end() {
    let (mut queue, profiles) = setup();
    queue.add(pod("first", 0), 0, false, (&profiles, cluster()), at(0));
    queue.pop(at(0)).unwrap();
    queue.add(pod("second", 0), 0, false, (&profiles, cluster()), at(0));
    queue.refused("first", Vec::new(), &profiles, at(0));
    assert_eq!(
        [name(queue.pop(at(1))), name(queue.pop(at(1)))],
        [Some("second".into()), Some("first".into())]
    );
}

#[test]
fn a_plugin_may_sort_the_queue() {
    struct ByName;
    impl Plugin for ByName {
        fn name(&self) -> &'static str {
            "ByName"
        }
        fn compare(&self, one: &PodInfo, other: &PodInfo) -> Option<Ordering> {
            Some(one.pod.metadata.name.cmp(&other.pod.metadata.name))
        }
    }
    let profiles = vec![Profile::default()];
    let mut queue = Queue::new(at(1), at(10), Arc::new([Arc::new(ByName)]));
    for (uid, priority) in [("b", 9), ("a", 0), ("c", 5)] {
        queue.add(pod(uid, priority), 0, false, (&profiles, cluster()), at(0));
    }
    let order: Vec<_> = (0..3).map(|_| name(queue.pop(at(0))).unwrap()).collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn equal_pods_wait_as_one_group_and_hints_look_at_the_object() {
    let (mut queue, profiles) = setup();
    let text = |uid: &str, cpu: &str| {
        let text = format!(
            r#"{{"metadata":{{"uid":"{uid}","name":"{uid}"}},"spec":{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
        );
        Arc::new(Pod::from_json(text.as_bytes()).unwrap())
    };
    for (uid, cpu) in [("s1", "1"), ("s2", "1"), ("large", "8")] {
        queue.add(text(uid, cpu), 0, false, (&profiles, cluster()), at(0));
        queue.pop(at(0)).unwrap();
        queue.refused(uid, vec!["NodeResourcesFit"], &profiles, at(0));
    }
    assert_eq!(queue.waiting.values().map(HashMap::len).sum::<usize>(), 2);
    let node = |cpu: &str| {
        let text = format!(r#"{{"status":{{"allocatable":{{"cpu":"{cpu}","pods":"9"}}}}}}"#);
        types::core::v1::Node::from_json(text.as_bytes()).unwrap()
    };
    let small = node("2");
    let about = About::Node(None, Some(&small));
    let added = Happening { event: ClusterEvent::NodeAdded, about, cluster: cluster() };
    assert_eq!(queue.happened(&added, &profiles, at(2)), 2, "the large one would not fit in any case");
    let grown = node("16");
    let about = About::Node(Some(&small), Some(&grown));
    let changed = Happening { event: ClusterEvent::NodeAllocatable, about, cluster: cluster() };
    assert_eq!(queue.happened(&changed, &profiles, at(3)), 1);
    assert!(queue.waiting.is_empty());
}

#[test]
fn a_refused_pod_waits_for_an_event_that_may_help_and_then_for_its_back_off() {
    let (mut queue, profiles) = setup();
    queue.add(pod("a", 0), 0, false, (&profiles, cluster()), at(0));
    queue.pop(at(0)).unwrap();
    queue.refused("a", vec!["NodeResourcesFit"], &profiles, at(0));
    assert_eq!(queue.happened(&event(ClusterEvent::NodeLabels), &profiles, at(0)), 0);
    assert_eq!(queue.pending(), Pending { unschedulable: 1, ..Pending::default() });
    assert_eq!(queue.happened(&event(ClusterEvent::PodFreed), &profiles, at(0)), 1);
    assert_eq!((queue.pending().backoff, queue.next_due()), (1, Some(at(1))));
    queue.add(pod("b", 0), 0, false, (&profiles, cluster()), at(0));
    assert_eq!(name(queue.pop(at(0))), Some("b".into()), "what is ready goes first");
    assert_eq!(name(queue.pop(at(0))), Some("a".into()), "nobody idles while a pod waits out its back-off");
    queue.refused("a", vec!["NodeResourcesFit"], &profiles, at(1));
    queue.remove("b");
    assert_eq!(queue.next_due(), Some(at(301)), "without an event it is tried again after five minutes");
    assert_eq!(name(queue.pop(at(301))), Some("a".into()));
}

#[test]
fn after_an_error_the_back_off_is_waited_out() {
    let (mut queue, profiles) = setup();
    queue.add(pod("a", 0), 0, false, (&profiles, cluster()), at(0));
    queue.pop(at(0)).unwrap();
    queue.refused("a", Vec::new(), &profiles, at(0));
    assert_eq!((name(queue.pop(at(0))), queue.next_due()), (None, Some(at(1))));
    assert_eq!(name(queue.pop(at(1))), Some("a".into()));
    let came: Vec<_> = queue.incoming.all().collect();
    let want = [
        ("BackoffComplete", "active", 1),
        ("ScheduleAttemptFailure", "backoff", 1),
        ("UnschedulablePodAdd", "active", 1),
    ];
    assert_eq!(came, want);
}

#[test]
fn events_during_an_attempt_are_not_lost() {
    let (mut queue, profiles) = setup();
    queue.add(pod("a", 0), 0, false, (&profiles, cluster()), at(0));
    queue.pop(at(0)).unwrap();
    queue.happened(&event(ClusterEvent::NodeAdded), &profiles, at(0));
    queue.refused("a", vec!["NodeResourcesFit"], &profiles, at(0));
    assert_eq!(queue.pending().backoff, 1);
}

#[test]
fn gates_hold_a_pod_back_until_they_are_gone() {
    let (mut queue, profiles) = setup();
    queue.add(pod("a", 0), 0, true, (&profiles, cluster()), at(0));
    assert_eq!((name(queue.pop(at(0))), queue.pending().gated), (None, 1));
    queue.add(pod("a", 0), 0, false, (&profiles, cluster()), at(0));
    assert_eq!(name(queue.pop(at(0))), Some("a".into()));
    queue.remove("a");
    assert_eq!(queue.pending(), Pending::default());
}

#[test]
fn ten_thousand_unschedulable_pods_cost_nothing_until_something_helps() {
    let (mut queue, profiles) = setup();
    for number in 0..10_000 {
        queue.add(pod(&number.to_string(), 0), 0, false, (&profiles, cluster()), at(0));
    }
    while let Some(popped) = queue.pop(at(0)) {
        queue.refused(popped.pod.uid(), vec!["NodeResourcesFit"], &profiles, at(0));
    }
    for _ in 0..100_000 {
        assert_eq!(queue.happened(&event(ClusterEvent::PodPlaced), &profiles, at(1)), 0);
    }
    assert_eq!((name(queue.pop(at(1))), queue.next_due()), (None, Some(at(300))));
}

#[test]
fn a_clock_that_jumps_ahead_only_ends_pauses() {
    let (mut queue, profiles) = setup();
    queue.add(pod("a", 0), 0, false, (&profiles, cluster()), at(0));
    for second in [0, 1_000_000, 2_000_000] {
        assert_eq!(name(queue.pop(at(second))), Some("a".into()));
        queue.refused("a", Vec::new(), &profiles, at(second));
    }
    assert_eq!(queue.next_due(), Some(at(2_000_004)), "three failures make four seconds");
}

#[test]
fn while_victims_are_told_to_go_nothing_wakes_the_pod_up() {
    let (mut queue, profiles) = setup();
    let freed = event(ClusterEvent::PodFreed);
    for again in [false, true] {
        queue.add(pod("a", 0), 0, false, (&profiles, cluster()), at(0));
        queue.pop(at(0)).unwrap();
        queue.evicts("a");
        // Something that helps happens while the pod is being decided about, and afterwards.
        queue.happened(&freed, &profiles, at(0));
        queue.refused("a", vec!["NodeResourcesFit"], &profiles, at(0));
        assert_eq!(queue.happened(&freed, &profiles, at(9)), 0);
        queue.evicted("a", again, at(9));
        assert_eq!(name(queue.pop(at(9))), again.then(|| "a".into()), "{again}");
        if !again {
            // A victim that was still there goes.
            assert_eq!(queue.happened(&freed, &profiles, at(9)), 1);
            assert_eq!(name(queue.pop(at(9))), Some("a".into()));
        }
        queue.remove("a");
    }
}
