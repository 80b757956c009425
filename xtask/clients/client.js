// JavaScript's client: what programs do with the package `@kubernetes/client-node`. A line for each step; 1 if one failed.
const k8s = require('@kubernetes/client-node');
const assert = require('node:assert');
const crypto = require('node:crypto');
const net = require('node:net');
const { PassThrough } = require('node:stream');

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const namespace = `javascript-${crypto.randomBytes(4).toString('hex')}`;
const LIMIT = 60_000;

const pod = (name, command, more = {}) => ({
  metadata: { name, labels: { app: name } },
  spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'c', image: 'toolbox', command, stdin: true }], ...more },
});

async function refused(code, promise) {
  const error = await promise.then(() => assert.fail(`not refused with ${code}`), error => error);
  assert.equal(error.code, code, error);
  return error;
}

// Watches until an event is as wanted; the watch begins with what is there.
function until(path, query, holds) {
  return new Promise((go, fail) => {
    let request;
    const heard = (type, object) => { if (holds(type, object)) { request.then(r => r.abort()); go(object); } };
    request = new k8s.Watch(config).watch(path, query, heard, error => fail(error ?? new Error('the watch ended')));
  });
}

const pods = `/api/v1/namespaces/${namespace}/pods`;
const ready = pod => pod.status.conditions?.some(c => c.type === 'Ready' && c.status === 'True');

async function runPod(name, command, listens) {
  const body = pod(name, command);
  if (listens) body.spec.containers[0].readinessProbe = { tcpSocket: { port: listens }, periodSeconds: 1 };
  await core.createNamespacedPod({ namespace, body });
  return until(pods, { fieldSelector: `metadata.name=${name}` }, (type, pod) => ready(pod));
}

// A stream whose text can be waited for.
function gather() {
  const pipe = new PassThrough();
  pipe.text = '';
  pipe.on('data', piece => { pipe.text += piece; pipe.emit('more'); });
  pipe.until = async text => { while (!pipe.text.includes(text)) await new Promise(go => pipe.once('more', go)); };
  return pipe;
}

const steps = {
  async 'create, read, errors'() {
    const made = await core.createNamespacedConfigMap({ namespace, body: { metadata: { generateName: 'made-' }, data: { a: 'é' } } });
    const read = await core.readNamespacedConfigMap({ namespace, name: made.metadata.name });
    assert.deepEqual(read, made);
    assert(read.metadata.creationTimestamp instanceof Date);
    await refused(404, core.readNamespacedPod({ namespace, name: 'nobody' }));
    delete made.metadata.resourceVersion;
    await refused(409, core.createNamespacedConfigMap({ namespace, body: made }));
    await refused(422, core.createNamespacedPod({ namespace, body: pod('Bad', ['true']) }));
    const version = await config.makeApiClient(k8s.VersionApi).getCode();
    assert.equal(version.minor, '37');
    const page = await core.listConfigMapForAllNamespaces({ limit: 1 });
    assert(page.metadata._continue && page.items.length === 1);
    const rest = await core.listConfigMapForAllNamespaces({ limit: 500, _continue: page.metadata._continue });
    assert(rest.items.length >= 1);
  },

  async 'patches of each type'() {
    const held = pod('patched', ['sleep', 'inf'], { schedulingGates: [{ name: 'example.com/held' }] });
    await core.createNamespacedPod({ namespace, body: held });
    const patch = (body, strategy, more = {}) =>
      core.patchNamespacedPod({ namespace, name: 'patched', body, ...more }, k8s.setHeaderOptions('Content-Type', strategy));
    let now = await patch([{ op: 'test', path: '/metadata/labels/app', value: 'patched' }, { op: 'add', path: '/metadata/labels/json', value: '1' }],
      k8s.PatchStrategy.JsonPatch);
    assert.equal(now.metadata.labels.json, '1');
    now = await patch({ metadata: { labels: { json: null, merge: '1' } } }, k8s.PatchStrategy.MergePatch);
    assert.deepEqual(now.metadata.labels, { app: 'patched', merge: '1' });
    now = await patch({ spec: { containers: [{ name: 'c', image: 'gousse.dev/toolbox:latest' }] } }, k8s.PatchStrategy.StrategicMergePatch);
    assert.deepEqual(now.spec.containers[0].command, ['sleep', 'inf']);
    now = await patch({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'patched', labels: { applied: 'yes' } } },
      k8s.PatchStrategy.ServerSideApply, { fieldManager: 'javascript' });
    assert.equal(now.metadata.labels.applied, 'yes');
    await refused(422, patch([{ op: 'test', path: '/metadata/labels/app', value: 'other' }], k8s.PatchStrategy.JsonPatch));
  },

  async 'objects of any kind: create, apply with a conflict, delete'() {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config);
    const map = data => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data });
    const apply = (data, manager, force) =>
      objects.patch(map(data), undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
    await apply({ k: 'a', only: 'a' }, 'alice');
    const error = await refused(409, apply({ k: 'b' }, 'bob'));
    assert.match(String(error.body), /conflict with \\?"alice/);
    assert.deepEqual((await apply({ k: 'b' }, 'bob', true)).data, { k: 'b', only: 'a' });
    assert.deepEqual((await apply({}, 'alice')).data, { k: 'b' });
    assert.equal((await objects.list('v1', 'ConfigMap', namespace, undefined, undefined, undefined, undefined, 'a=b')).items.length, 0);
    await objects.delete(map({}));
    await refused(404, objects.read(map({})));
    for (const document of k8s.loadAllYaml('apiVersion: v1\nkind: Secret\nmetadata: {name: one}\n---\napiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: two}\n')) {
      document.metadata.namespace = namespace;
      await objects.create(document);
    }
  },

  async 'informer: what is there, what changes, over the end of its watch'() {
    const body = name => ({ metadata: { name, labels: { watched: 'yes' } } });
    await core.createNamespacedConfigMap({ namespace, body: body('before') });
    const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'watched' });
    const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list, 'watched');
    const told = gather();
    for (const verb of ['add', 'update', 'delete']) informer.on(verb, object => told.write(`${verb} ${object.metadata.name}\n`));
    let failure;
    // Stopping it aborts its watch, which it tells as an error.
    informer.on('error', error => { if (error.type !== 'aborted') failure = error; });
    await informer.start();
    await told.until('add before\n');
    for (let round = 0; round < 3; round++) {
      await core.createNamespacedConfigMap({ namespace, body: body(`w${round}`) });
      await told.until(`add w${round}\n`);
      await core.patchNamespacedConfigMap({ namespace, name: `w${round}`, body: { data: { k: 'v' } } },
        k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));
      await told.until(`update w${round}\n`);
      await informer.stop();
      await core.deleteNamespacedConfigMap({ namespace, name: `w${round}` });
      await informer.start();
      await told.until(`delete w${round}\n`);
    }
    assert.equal(informer.get('before', namespace).metadata.name, 'before');
    assert.equal(informer.list(namespace).length, 1);
    await informer.stop();
    assert.equal(failure, undefined);
  },

  async 'exec, attach, logs'() {
    await runPod('web', ['sh', '-c', 'echo begun; while read line; do echo "<$line>"; done']);
    const out = gather(), err = gather(), input = new PassThrough();
    const status = new Promise(go => new k8s.Exec(config).exec(namespace, 'web', 'c', ['sh', '-c', 'cat; echo err >&2; exit 3'], out, err, input, false, go));
    input.end('hello\n');
    const told = await status;
    assert.equal(told.details.causes.find(c => c.reason === 'ExitCode').message, '3');
    assert.equal(out.text + err.text, 'hello\nerr\n');
    const log = gather();
    const following = await new k8s.Log(config).log(namespace, 'web', 'c', log, { follow: true });
    await log.until('begun\n');
    const typing = new PassThrough();
    const socket = await new k8s.Attach(config).attach(namespace, 'web', 'c', gather(), null, typing, false);
    typing.write('attached\n');
    await log.until('<attached>\n');
    socket.close();
    following.abort();
    assert.equal(await core.readNamespacedPodLog({ namespace, name: 'web', tailLines: 1 }), '<attached>\n');
    await refused(400, core.readNamespacedPodLog({ namespace, name: 'web', container: 'other' }));
  },

  async 'port-forward'() {
    await runPod('echo', ['serve-echo', '--tcp', '7000'], 7000);
    const forward = new k8s.PortForward(config);
    const server = net.createServer(socket => forward.portForward(namespace, 'echo', [7000], socket, null, socket));
    await new Promise(go => server.listen(0, '127.0.0.1', go));
    for (let round = 0; round < 3; round++) {
      const socket = net.connect(server.address().port, '127.0.0.1'), back = gather();
      socket.pipe(back);
      socket.write(`${round}`.repeat(50_000) + '!');
      await back.until('!');
      assert.equal(back.text, `${round}`.repeat(50_000) + '!');
      socket.destroy();
    }
    server.close();
  },

  async 'tokens, eviction, deletion'() {
    const { status } = await core.createNamespacedServiceAccountToken({ namespace, name: 'default', body: { spec: { audiences: ['vault'], expirationSeconds: 600 } } });
    const review = await config.makeApiClient(k8s.AuthenticationV1Api).createTokenReview({ body: { spec: { token: status.token, audiences: ['vault'] } } });
    assert.equal(review.status.user.username, `system:serviceaccount:${namespace}:default`);
    const gone = until(pods, { fieldSelector: 'metadata.name=web' }, type => type === 'DELETED');
    await core.createNamespacedPodEviction({ namespace, name: 'web', body: { metadata: { name: 'web', namespace } } });
    await gone;
    await core.deleteCollectionNamespacedPod({ namespace, gracePeriodSeconds: 0 });
    await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'watched', propagationPolicy: 'Background' });
  },
};

(async () => {
  await core.createNamespace({ body: { metadata: { name: namespace } } });
  await until(`/api/v1/namespaces/${namespace}/serviceaccounts`, { fieldSelector: 'metadata.name=default' }, () => true);
  let failed = false;
  for (const [name, step] of Object.entries(steps)) {
    let late;
    const limit = new Promise((_, fail) => { late = setTimeout(() => fail(new Error('too late')), LIMIT); });
    try {
      await Promise.race([step(), limit]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed = true;
      console.log(`FAILED ${name}: ${String(error.message ?? error).slice(0, 1500)}`);
      console.error(error);
    }
    clearTimeout(late);
  }
  await core.deleteNamespace({ name: namespace });
  process.exit(failed ? 1 : 0);
})().catch(error => { console.log(`FAILED to begin: ${error}`); process.exit(1); });
