"""Logs of what a robot saw and did: recorded on it with numpy and mcap, read and learned from at the desk.

with deploy.Recorder("run.mcap", policy=policy) as log:     # on the robot
    log.begin()
    log.step(observation, action, reward, observed_ns=seen, acted_ns=sent)
    log.end(observation)

model = learner.adapt_from(deploy.read_log("run.mcap"))     # at the desk
"""
