// Browsers start no worker from a page of file://; what the search would do in one it then does in a frame.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = frame.contentWindow;
      const load = (address) => new Promise((done) => {
        const script = inner.document.createElement("script");
        script.src = new URL(address, location.href).href;
        script.onload = done;
        inner.document.body.append(script);
      });
      inner.importScripts = (...addresses) => addresses.reduce((before, next) => before.then(() => load(next)),
        Promise.resolve());
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", {data}));
      this.ready = load(url);
      this.inner = inner;
    }

    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new this.inner.MessageEvent("message", {data})));
    }

    terminate() {
      this.inner.frameElement.remove();
    }
  };
}
