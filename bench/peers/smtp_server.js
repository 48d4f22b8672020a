// Nodemailer's smtp-server as a submission server that discards: NODE_MODULES PORT CERT KEY USER:PASSWORD
const [, , modules, port, cert, key, login] = process.argv
const { SMTPServer } = require(modules + '/smtp-server')
const { readFileSync } = require('fs')
const at = login.indexOf(':')

const server = new SMTPServer({
  cert: readFileSync(cert),
  key: readFileSync(key),
  authMethods: ['PLAIN'],
  logger: false,
  disableReverseLookup: true,
  size: 41943040,
  maxClients: 10000,
  onAuth (given, _session, done) {
    const right = given.username === login.slice(0, at) && given.password === login.slice(at + 1)
    right ? done(null, { user: given.username }) : done(new Error('no'))
  },
  onData (stream, _session, done) {
    stream.on('data', () => {})
    stream.on('end', () => done(null, 'discarded'))
  }
})
server.on('error', () => {})
server.listen(+port, '127.0.0.1', 1024)
process.on('SIGTERM', () => process.exit(0))
