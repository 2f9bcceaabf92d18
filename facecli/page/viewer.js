"use strict";
// Draws one face: reads a parcel (see facecli/parcel.py for its layout) and shows it with three.js.
facecli.viewer = (() => {
  const $ = (id) => document.getElementById(id);
  const LOOKS = { texture: "Texture", clay: "Shaded", wire: "Wireframe", normals: "Normals" };
  const MESHES = { face: "Whole face", mesh: "Photo only" };
  const DISTANCE = 0.66, VIEW = 26; // metres, degrees: a portrait lens

  const renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: false });
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.setClearAlpha(0);
  $("stage").insertBefore(renderer.domElement, $("message"));

  const scene = new THREE.Scene();
  const lens = new THREE.PerspectiveCamera(VIEW, 1, 0.01, 10); // the one that turns
  const fixed = new THREE.Camera(); // the photo's
  fixed.matrixAutoUpdate = fixed.matrixWorldAutoUpdate = false;
  // Light comes with the camera that looks, like a photographer's.
  const lights = [
    [new THREE.DirectionalLight(0xfff1e0, 2.7), [-0.8, 0.66, 0.56]],
    [new THREE.DirectionalLight(0xdbe6ff, 0.4), [0.9, 0.05, 0.55]],
    [new THREE.DirectionalLight(0xe6edff, 0.9), [0.7, 0.3, -0.6]],
  ];
  for (const [light] of lights) scene.add(light, light.target);
  scene.add(new THREE.HemisphereLight(0xdfe6f2, 0x6a6258, 0.62));

  const orbit = new THREE.OrbitControls(lens, renderer.domElement);
  Object.assign(orbit, { enableDamping: true, dampingFactor: 0.12, minDistance: 0.12, maxDistance: 2, autoRotateSpeed: 2.4, zoomSpeed: 0.8 });
  orbit.addEventListener("change", later);
  orbit.addEventListener("start", () => { over(false); spin(false); });

  const state = { look: "texture", mesh: null, over: false, mix: 1, spin: false };
  let shown = {}, camera = null, clock = 0, drawing = false;

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const buffer = await new Response(stream).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    return { header, blob: ([start, size]) => new Uint8Array(buffer, 4 + length + start, size) };
  }

  /** Columns of numbers from their differences: byte by byte, each column apart. */
  function columns(bytes, Kind, count, width, back = 1) {
    const made = new Kind(count * width), step = Kind.BYTES_PER_ELEMENT, column = new Kind(count);
    for (let k = 0; k < width; k++) {
      for (let i = 0; i < count; i++) {
        let value = 0;
        for (let b = 0; b < step; b++) value |= bytes[(k * step + b) * count + i] << (8 * b);
        column[i] = i < back ? value : column[i - back] + value; // typed arrays wrap around
        made[i * width + k] = column[i];
      }
    }
    return made;
  }

  async function picture(bytes) {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    try { await image.decode(); } finally { URL.revokeObjectURL(image.src); }
    return image;
  }

  async function texture(bytes, isColour) {
    const made = new THREE.Texture(await picture(bytes));
    made.flipY = false; // uv counts from the top, as glTF's
    if (isColour) made.colorSpace = THREE.SRGBColorSpace;
    made.anisotropy = renderer.capabilities.getMaxAnisotropy();
    made.needsUpdate = true;
    return made;
  }

  async function build(described, blob) {
    const { vertices, triangles, step } = described, geometry = new THREE.BufferGeometry();
    const places = Float32Array.from(columns(blob(described.positions), Int16Array, vertices, 3), (value) => value * step);
    geometry.setAttribute("position", new THREE.BufferAttribute(places, 3));
    geometry.setIndex(new THREE.BufferAttribute(new Uint32Array(columns(blob(described.indices), Int32Array, triangles * 3, 1, 6)), 1));
    geometry.computeVertexNormals();
    const own = { side: THREE.DoubleSide };
    if (described.uv) {
      geometry.setAttribute("uv", new THREE.BufferAttribute(columns(blob(described.uv), Uint16Array, vertices, 2), 2, true));
      own.map = await texture(blob(described.texture), true);
    } else {
      const light = Uint8Array.from(columns(blob(described.colors), Uint8Array, vertices, 3));
      const linear = Float32Array.from(light, (value) => new THREE.Color().setRGB(value / 255, 0, 0, THREE.SRGBColorSpace).r);
      geometry.setAttribute("color", new THREE.BufferAttribute(linear, 3));
      own.vertexColors = true;
    }
    const relief = described.normal_map ? { normalMap: await texture(blob(described.normal_map), false) } : {};
    const clay = { color: 0xe2d8ce, roughness: 0.62, metalness: 0, side: THREE.DoubleSide };
    const materials = {
      texture: new THREE.MeshBasicMaterial(own),
      clay: new THREE.MeshStandardMaterial({ ...clay, ...relief }),
      wire: new THREE.MeshBasicMaterial({ color: 0x1b1d22, side: THREE.DoubleSide, polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 }),
      normals: new THREE.MeshNormalMaterial({ side: THREE.DoubleSide, ...relief }),
    };
    const body = new THREE.Mesh(geometry, materials.texture);
    const wires = new THREE.Mesh(geometry, new THREE.MeshBasicMaterial({ color: 0xf2c14e, wireframe: true, transparent: true, opacity: 0.45 }));
    body.add(wires);
    return { body, wires, materials };
  }

  async function show(text) {
    const { header, blob } = await unpacked(text);
    const next = {};
    for (const [name, described] of Object.entries(header.meshes)) next[name] = await build(described, blob);
    const photo = header.photo && header.camera ? await picture(blob(header.photo)) : null;
    const wasOver = state.over;
    clear();
    shown = next;
    camera = photo ? header.camera : null;
    if (photo) {
      const drawn = document.createElement("canvas"); // no URL to keep alive
      Object.assign(drawn, { width: photo.naturalWidth, height: photo.naturalHeight });
      drawn.getContext("2d").drawImage(photo, 0, 0);
      $("photo").src = drawn.toDataURL("image/jpeg", 0.92);
    }
    segments($("looks"), LOOKS, Object.keys(LOOKS), "look");
    segments($("meshes"), MESHES, Object.keys(shown), "mesh");
    if (!(state.mesh in shown)) state.mesh = Object.keys(shown)[0];
    $("meshes").hidden = Object.keys(shown).length < 2;
    $("blend").hidden = !camera;
    $("bar").hidden = false;
    for (const { body } of Object.values(shown)) scene.add(body);
    dress();
    front();
    over(Boolean(wasOver && camera));
    await later();
  }

  function clear() {
    for (const { body, wires, materials } of Object.values(shown)) {
      scene.remove(body);
      body.geometry.dispose();
      wires.material.dispose();
      for (const material of Object.values(materials)) {
        for (const part of ["map", "normalMap"]) material[part]?.dispose();
        material.dispose();
      }
    }
    shown = {};
    $("photo").hidden = true;
    $("photo").removeAttribute("src");
    later();
  }

  function dress() {
    for (const [name, { body, wires, materials }] of Object.entries(shown)) {
      body.visible = name === state.mesh;
      body.material = materials[state.look];
      wires.visible = state.look === "wire";
    }
    for (const part of ["look", "mesh"])
      for (const button of $(`${part}${part === "look" ? "s" : "es"}`).children)
        button.setAttribute("aria-pressed", button.dataset.value === state[part]);
    later();
  }

  function segments(box, names, values, part) {
    box.replaceChildren(...values.map((value) => {
      const button = document.createElement("button");
      button.textContent = names[value];
      button.dataset.value = value;
      button.onclick = () => { state[part] = value; dress(); };
      return button;
    }));
  }

  function front() {
    const { body } = shown[state.mesh];
    body.geometry.computeBoundingBox();
    body.geometry.boundingBox.getCenter(orbit.target);
    orbit.target.y -= 0.012; // the bar covers the foot of the stage
    lens.position.copy(orbit.target).add(new THREE.Vector3(0, 0, DISTANCE));
    orbit.update();
  }

  /** The mesh seen by the photo's own camera, over the photo. */
  function over(wanted) {
    state.over = Boolean(wanted && camera);
    if (state.over) spin(false);
    $("photo").hidden = !state.over;
    renderer.domElement.style.opacity = state.over ? state.mix : 1;
    if (!state.over) { $("mix").value = 100; state.mix = 1; }
    later();
  }

  function spin(wanted) {
    state.spin = orbit.autoRotate = wanted;
    $("spin").setAttribute("aria-pressed", wanted);
    if (wanted) over(false);
    later();
  }

  function resize() {
    const { clientWidth: width, clientHeight: height } = $("stage");
    renderer.setSize(width, height, false);
    lens.aspect = width / height;
    lens.fov = width < height ? 2 * Math.atan(Math.tan((VIEW * Math.PI) / 360) * (height / width)) * (180 / Math.PI) : VIEW;
    lens.updateProjectionMatrix();
    const side = Math.min(width, height);
    Object.assign($("photo").style, { width: `${side}px`, height: `${side}px` });
    return [side / width, side / height];
  }

  function later() {
    if (drawing) return drawing;
    drawing = new Promise((done) => requestAnimationFrame((now) => { drawing = false; draw(now); done(); }));
    return drawing;
  }

  function draw(now) {
    const [across, down] = resize();
    if (!state.over) orbit.update((now - clock) / 1000);
    clock = now;
    const eye = state.over ? fixed : lens;
    if (state.over) {
      // The crop's square in the middle of the stage.
      fixed.projectionMatrix.set(...camera.projection);
      fixed.projectionMatrix.premultiply(new THREE.Matrix4().makeScale(across, down, 1));
      fixed.projectionMatrixInverse.copy(fixed.projectionMatrix).invert();
      fixed.matrixWorldInverse.set(...camera.view);
      fixed.matrixWorld.copy(fixed.matrixWorldInverse).invert();
      fixed.matrix.copy(fixed.matrixWorld);
    } else lens.updateMatrixWorld();
    for (const [light, direction] of lights)
      light.position.set(...direction).transformDirection(eye.matrixWorld);
    renderer.render(scene, eye);
    if (state.spin) later();
  }

  $("mix").oninput = () => { state.mix = $("mix").value / 100; if (!state.over) { const mix = state.mix; over(true); state.mix = mix; } over(true); };
  $("spin").onclick = () => spin(!state.spin);
  $("reset").onclick = () => { over(false); spin(false); front(); };
  new ResizeObserver(later).observe($("stage"));

  function key(name) {
    const act = {
      p: () => { if (!state.over) { state.mix = 0.6; $("mix").value = 60; } over(!state.over); },
      r: () => $("reset").click(),
      " ": () => $("spin").click(),
    }[name.toLowerCase()];
    const look = Object.keys(LOOKS)[Number(name) - 1];
    if (look) { state.look = look; dress(); }
    else if (act) act();
    return Boolean(look || act);
  }

  return { show, clear, key };
})();
