// The JavaScript client against a server whose kubeconfig is in KUBECONFIG: verbs, patches, an informer, object API.
// Prints a line for each part that works; the first that does not ends it.

import { createRequire } from 'node:module'
import assert from 'node:assert/strict'

const k8s = createRequire(import.meta.url)('@kubernetes/client-node')
const config = new k8s.KubeConfig()
config.loadFromDefault()
const core = config.makeApiClient(k8s.CoreV1Api)
const objects = k8s.KubernetesObjectApi.makeApiClient(config)
const namespace = 'node-' + Math.random().toString(36).slice(2, 8)
await core.createNamespace({ body: { metadata: { name: namespace } } })

async function verbs() {
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'a' }, data: { k: 'v' } } })
  const read = await core.readNamespacedConfigMap({ namespace, name: 'a' })
  assert.deepEqual(read.data, { k: 'v' })
  const merge = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch)
  const patched = await core.patchNamespacedConfigMap({ namespace, name: 'a', body: { data: { k: null, l: 'w' } } }, merge)
  assert.deepEqual(patched.data, { l: 'w' })
  await assert.rejects(core.readNamespacedConfigMap({ namespace, name: 'none' }), (error) => error.code === 404)
}

async function informs() {
  const list = () => core.listNamespacedConfigMap({ namespace })
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list)
  const seen = []
  const wanted = ['add b', 'update b', 'delete b']
  const done = new Promise((resolve, reject) => {
    for (const verb of ['add', 'update', 'delete']) {
      informer.on(verb, (object) => {
        if (object.metadata.name === 'b') seen.push(`${verb} b`)
        if (seen.length === wanted.length) resolve()
      })
    }
    informer.on('error', reject)
    setTimeout(() => reject(new Error(`saw only ${seen}`)), 20000).unref()
  })
  await informer.start()
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'b' } } })
  await core.replaceNamespacedConfigMap({ namespace, name: 'b', body: { metadata: { name: 'b' }, data: { c: '1' } } })
  await core.deleteNamespacedConfigMap({ namespace, name: 'b' })
  await done
  assert.deepEqual(seen, wanted)
  await informer.stop()
}

async function applies() {
  const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace }, data: { a: '1' } }
  const applied = await objects.patch(map, undefined, undefined, 'script', true, k8s.PatchStrategy.ServerSideApply)
  assert.equal(applied.data.a, '1')
  assert.equal(applied.metadata.managedFields[0].operation, 'Apply')
  const found = await objects.list('v1', 'ConfigMap', namespace)
  assert.ok(found.items.some((item) => item.metadata.name === 'c'))
}

for (const part of [verbs, informs, applies]) {
  await part()
  console.log(part.name)
}
await core.deleteNamespace({ name: namespace })
process.exit(0)
