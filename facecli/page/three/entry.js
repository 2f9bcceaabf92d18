// All that viewer.js uses; esbuild leaves the rest of three.js out.
export {
  BufferAttribute, BufferGeometry, Camera, Color, DirectionalLight, DoubleSide, HemisphereLight, Matrix4, Mesh,
  MeshBasicMaterial, MeshNormalMaterial, MeshStandardMaterial, PerspectiveCamera, SRGBColorSpace, Scene, Texture,
  Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
