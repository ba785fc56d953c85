// A GraphQL endpoint whose schema is published by a mutation, as schema registries do it, and whose data is a list of
// categories. `/admin` takes publish(sdl, expected, force); `/graphql` serves what was published last.
import { createServer } from "node:http";
import { buildSchema, findBreakingChanges } from "graphql";
import { createSchema, createYoga } from "graphql-yoga";

let sdl = "type Query { ping: String }";
let revision = 1;
const categories = new Map();

const resolvers = { Query: { ping: () => "pong" } };
const served = () => createSchema({ typeDefs: sdl, resolvers, resolverValidationOptions: { requireResolversToMatchSchema: "ignore" } });
let schema = served();

function publish({ sdl: next, expected, force }) {
  if (expected !== revision) throw refusal("REVISION", `the revision is ${revision}, not ${expected}`);
  const breaking = findBreakingChanges(buildSchema(sdl), buildSchema(next));
  if (breaking.length > 0 && !force) throw refusal("BREAKING", `breaking: ${breaking.map((change) => change.description).join(" ")}`);
  sdl = next;
  revision += 1;
  schema = served();
  return revision;
}

function refusal(code, message) {
  return Object.assign(new Error(message), { extensions: { code } });
}

const admin = createSchema({
  typeDefs: `
    type Category { id: ID! name: String! }
    type Query { revision: Int! sdl: String! version: String! categories: [Category!]! }
    type Mutation {
      publish(sdl: String!, expected: Int!, force: Boolean = false): Int!
      createCategory(name: String!): Category!
      deleteCategory(id: ID!): Boolean!
    }`,
  resolvers: {
    Query: {
      revision: () => revision,
      sdl: () => sdl,
      version: () => process.env.YOGA_VERSION ?? "",
      categories: () => [...categories.values()],
    },
    Mutation: {
      publish: (_, input) => publish(input),
      createCategory: (_, { name }) => {
        if ([...categories.values()].some((category) => category.name === name)) {
          throw refusal("EXISTS", `there is a category ${name}`);
        }
        const category = { id: String(Date.now()) + String(categories.size), name };
        categories.set(category.id, category);
        return category;
      },
      deleteCategory: (_, { id }) => categories.delete(id),
    },
  },
});

const options = { graphiql: false, logging: false, maskedErrors: false };
const endpoints = {
  "/admin": createYoga({ ...options, schema: admin, graphqlEndpoint: "/admin" }),
  "/graphql": createYoga({ ...options, schema: () => schema, graphqlEndpoint: "/graphql" }),
};
const server = createServer((request, response) => {
  const endpoint = endpoints[request.url.split("?")[0]];
  if (endpoint) endpoint(request, response);
  else response.writeHead(404).end();
});
server.listen(Number(process.env.PORT), "127.0.0.1");
