r"""A ROS 2 node that runs a policy file: JointStates in, commands for a forward command controller out.

    python3 policy_node.py --ros-args -p policy:=cart_pole.onnx \
        -p sources:='["cart.position=slider/position", "cart.velocity=slider/velocity", ...]' \
        -p scales:='["motor=8.0"]'

All that can be tested without ROS is in bridge.py. Python 3 with rclpy, numpy, onnxruntime and metamotor.
"""

from __future__ import annotations

from collections.abc import Sequence

import rclpy
from bridge import Bridge, Scale
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from metamotor.deploy.runtime import open_policy


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Return what "name=value" says, of each text."""
    return {name: value for name, _, value in (text.partition("=") for text in texts if text)}


class PolicyNode(Node):
    """Subscribes to `joint_states`, publishes on `commands` once a control period; `~/reset` begins an episode."""

    def __init__(self) -> None:
        super().__init__("metamotor_policy")
        path = self.declare_parameter("policy", "policy.onnx").value
        sources = self.declare_parameter("sources", [""]).value
        max_age = self.declare_parameter("max_age", 0.1).value
        scales = self.declare_parameter("scales", [""]).value
        self.bridge = Bridge(
            open_policy(path),
            pairs(sources),
            scales={name: Scale(float(factor)) for name, factor in pairs(scales).items()},
            max_age=max_age,
        )
        self.publisher = self.create_publisher(Float64MultiArray, "commands", 1)
        # Best effort and one deep: a state that comes late is worth nothing.
        self.create_subscription(JointState, "joint_states", self.receive, qos_profile_sensor_data)
        self.create_service(Trigger, "~/reset", self.reset)
        self.create_timer(self.bridge.period, self.act)
        self.create_timer(10.0, lambda: self.get_logger().info(self.bridge.report()))

    def receive(self, message: JointState) -> None:
        """Take a message; one without a stamp counts as new."""
        stamp = Time.from_msg(message.header.stamp, clock_type=self.get_clock().clock_type)
        age = (self.get_clock().now() - stamp).nanoseconds / 1e9 if stamp.nanoseconds else 0.0
        self.bridge.receive(
            message.name, message.position, message.velocity, message.effort, age=age
        )

    def reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Begin an episode, as asked by the service."""
        self.bridge.reset()
        response.success, response.message = True, self.bridge.report()
        return response

    def act(self) -> None:
        """Publish the commands of this period."""
        self.publisher.publish(Float64MultiArray(data=self.bridge.command()))


def main() -> None:
    """Run the node until it is told to stop."""
    rclpy.init()
    node = PolicyNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
