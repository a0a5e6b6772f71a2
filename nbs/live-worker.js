// Lets the page that listens open without a network: what it has kept stands in where nothing answers.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", e => e.waitUntil(clients.claim()));
self.addEventListener("fetch", e => {
  if (e.request.method === "GET" && new URL(e.request.url).origin === location.origin)
    e.respondWith(fetch(e.request).catch(async () => await (await caches.open("sirenbook-live")).match(e.request, {ignoreSearch: true}) ?? Response.error()));
});
