"""The ant's body as numbers, and the URDF made of them.

The geometry is that of `mjcf/ant.xml` in pybullet_data (the four-legged ant of Schulman et al. 2015,
arXiv:1506.02438, as OpenAI's MuJoCo tasks drew it; pybullet_data notes no licence for it), and a test holds the two
together. Three things differ:

* **It weighs 10 kg.** By the file's density of 5 kg/m³ it weighs 0.91 kg, and moves by motors that each turn a rotor of
  1 kg·m² (`armature`), which is what the legs' inertia there is. PyBullet cannot express a rotor, and reads no density:
  it would load 182 kg. 10 kg is what a real robot of this size weighs (an A1, 12 kg); its moments of inertia are those
  of solid bodies of one density.
* The parts of the legs that do not move against the torso are one link with it.
* The frames of legs look along the leg, so that all ankles turn feet down about +y. In the file those of legs 2 and 3
  turn the other way round, about the opposite axis.
"""

from __future__ import annotations

from math import cos, hypot, pi, radians, sin

from metamotor.robots.planar_model import Capsule

TOTAL_MASS = 10.0
"""[kg]."""
TORSO_RADIUS = 0.25
"""Of the ball that is the torso's middle [m]."""
LEG_RADIUS = 0.08
"""Of all capsules [m]."""
HIP = hypot(0.2, 0.2)
"""Distance of a hip from the torso's middle, of an ankle from its hip [m]."""
SHANK = hypot(0.4, 0.4)
"""Length of a foot's capsule from the ankle on [m]."""
HEADINGS = (pi / 4, 3 * pi / 4, -3 * pi / 4, -pi / 4)
"""Where legs 1 to 4 point, to the left of forwards [rad]."""
HIP_LIMITS = (radians(-40), radians(40))
"""To the left [rad]."""
ANKLE_LIMITS = (radians(30), radians(100))
"""Down from level [rad]."""
JOINT_DAMPING = 1.0
"""Of each joint [N·m·s/rad]."""

_BALL = 4 / 3 * pi * TORSO_RADIUS**3


def _capsule(length: float) -> Capsule:
    return Capsule(0.0, 0.0, 0.0, length / 2, LEG_RADIUS)


_UPPER, _LOWER = _capsule(HIP), _capsule(SHANK)
DENSITY = TOTAL_MASS / (_BALL + 4 * (2 * _UPPER.volume + _LOWER.volume))
"""[kg/m³]."""


def _twist(capsule: Capsule) -> float:
    """Return the moment of inertia about a capsule's axis, for a density of one [m⁵]."""
    caps = 4 / 3 * pi * capsule.radius**3
    return (capsule.cylinder / 2 + caps * 2 / 5) * capsule.radius**2


def torso_inertia() -> tuple[float, float, float]:
    """Return the torso's moments of inertia about its axes, which are principal ones by symmetry [kg·m²]."""
    ball = _BALL * 2 / 5 * TORSO_RADIUS**2
    # Two of four arms lie along each diagonal, and halfway between x and y any two directions add up.
    across = _UPPER.moment + _UPPER.volume * (HIP / 2) ** 2
    level = DENSITY * (ball + 2 * (across + _twist(_UPPER)))
    return level, level, DENSITY * (ball + 4 * across)


def urdf() -> str:
    """Return the model as the text of a URDF: the torso, then hip and ankle of each leg, named as their joints."""
    ball = "".join(
        f'<{use}><geometry><sphere radius="{TORSO_RADIUS}"/></geometry></{use}>'
        for use in ("visual", "collision")
    )
    arms = "".join(_capsule_shapes(HIP, heading) for heading in HEADINGS)
    mass = DENSITY * (_BALL + 4 * _UPPER.volume)
    parts = [f'<link name="torso">{_inertial(mass, 0.0, torso_inertia())}{ball}{arms}</link>']
    for number, heading in enumerate(HEADINGS, start=1):
        hip, ankle = f"hip_{number}", f"ankle_{number}"
        place = f'xyz="{HIP * cos(heading)} {HIP * sin(heading)} 0" rpy="0 0 {heading}"'
        parts += [
            _joint(hip, "torso", place, "0 0 1", HIP_LIMITS),
            _leg(hip, HIP, _UPPER),
            _joint(ankle, hip, f'xyz="{HIP} 0 0"', "0 1 0", ANKLE_LIMITS),
            _leg(ankle, SHANK, _LOWER),
        ]
    return f'<robot name="ant">{"".join(parts)}</robot>'


def _joint(name: str, parent: str, place: str, axis: str, limits: tuple[float, float]) -> str:
    return (
        f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{name}"/>'
        f'<origin {place}/><axis xyz="{axis}"/><dynamics damping="{JOINT_DAMPING}"/>'
        f'<limit lower="{limits[0]}" upper="{limits[1]}" effort="100" velocity="100"/></joint>'
    )


def _leg(name: str, length: float, capsule: Capsule) -> str:
    across = DENSITY * capsule.moment
    moments = (DENSITY * _twist(capsule), across, across)
    inertial = _inertial(DENSITY * capsule.volume, length / 2, moments)
    return f'<link name="{name}">{inertial}{_capsule_shapes(length, 0.0)}</link>'


def _inertial(mass: float, x: float, moments: tuple[float, float, float]) -> str:
    return (
        f'<inertial><origin xyz="{x} 0 0"/><mass value="{mass}"/><inertia ixx="{moments[0]}" '
        f'iyy="{moments[1]}" izz="{moments[2]}" ixy="0" ixz="0" iyz="0"/></inertial>'
    )


def _capsule_shapes(length: float, heading: float) -> str:
    """Return a level capsule that begins at the origin."""
    x, y = length / 2 * cos(heading), length / 2 * sin(heading)
    return "".join(
        f'<{use}><origin xyz="{x} {y} 0" rpy="0 {pi / 2} {heading}"/><geometry>'
        f'<capsule radius="{LEG_RADIUS}" length="{length}"/></geometry></{use}>'
        for use in ("visual", "collision")
    )
